SELECT organization_id, body, secrets, from_organization
FROM subscriptions
WHERE id = ?1 AND organization_id = ?2 AND deleted_at IS NULL
