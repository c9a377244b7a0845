UPDATE subscriptions SET state = 2, deleted_at = $2, version = $3
WHERE organization_id = $1 AND deleted_at IS NULL
