-- As much as some events take: what is left of a full disk may hold one small row and no event. Random,
-- so that it cannot be compressed.
INSERT INTO meta (name, value) VALUES ('probe', $1)
ON CONFLICT (name) DO UPDATE SET value = excluded.value
