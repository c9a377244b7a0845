-- As much as some events take: what is left of a full disk may hold one small row and no event. Random,
-- because SQLite does not write pages anew that stay as they are.
INSERT INTO meta (name, value) VALUES ('probe', randomblob(65536))
ON CONFLICT (name) DO UPDATE SET value = excluded.value
