INSERT INTO api_keys (id, organization_id, digest, body, version)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (id) DO UPDATE SET organization_id = $2, body = $4, version = $5
