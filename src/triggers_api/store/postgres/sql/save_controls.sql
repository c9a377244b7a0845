INSERT INTO controls (id, body, version)
VALUES (1, $1, $2)
ON CONFLICT (id) DO UPDATE SET body = $1, version = $2
