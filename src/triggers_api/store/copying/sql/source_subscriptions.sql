SELECT organization_id, id, state, expires_at, max_concurrency, body, secrets, from_organization, deleted_at
FROM subscriptions
