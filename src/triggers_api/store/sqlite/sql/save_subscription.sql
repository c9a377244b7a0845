INSERT INTO subscriptions (
    id, organization_id, state, expires_at, body, secrets, from_organization, version
)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
ON CONFLICT (id) DO UPDATE
SET state = ?3, expires_at = ?4, body = ?5, secrets = ?6, from_organization = ?7, version = ?8
