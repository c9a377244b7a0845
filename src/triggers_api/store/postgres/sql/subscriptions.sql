SELECT body
FROM subscriptions
WHERE organization_id = $1 AND deleted_at IS NULL AND id < $2
ORDER BY id DESC
LIMIT $3
