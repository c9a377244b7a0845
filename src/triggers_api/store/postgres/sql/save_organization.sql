INSERT INTO organizations (id, body, version)
VALUES ($1, $2, $3)
ON CONFLICT (id) DO UPDATE SET body = $2, version = $3
