SELECT organization_id, id, from_organization, state, expires_at, max_concurrency, body, secrets, deleted_at
FROM subscriptions
