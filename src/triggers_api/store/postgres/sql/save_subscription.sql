INSERT INTO subscriptions (
    organization_id, id, state, expires_at, max_concurrency, body, secrets, from_organization, version
)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT (organization_id, id) DO UPDATE
SET state = $3, expires_at = $4, max_concurrency = $5, body = $6, secrets = $7, from_organization = $8,
    version = $9
WHERE subscriptions.deleted_at IS NULL
