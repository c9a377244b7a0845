SELECT organization_id, body, secrets, from_organization
FROM subscriptions
WHERE organization_id = $1 AND id = $2 AND deleted_at IS NULL
