UPDATE subscriptions SET state = 2, deleted_at = $3, version = $4
WHERE organization_id = $1 AND id = $2 AND deleted_at IS NULL
RETURNING id
