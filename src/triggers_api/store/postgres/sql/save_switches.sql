INSERT INTO switches (organization_id, subscription_id, body, version)
VALUES ($1, $2, $3, $4)
ON CONFLICT (organization_id, subscription_id) DO UPDATE SET body = $3, version = $4
