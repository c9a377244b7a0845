SELECT id, body FROM subscriptions WHERE organization_id = $1 AND deleted_at IS NULL
