INSERT INTO meta (name, value) VALUES ('signing_key', $1) ON CONFLICT (name) DO UPDATE SET value = $1
