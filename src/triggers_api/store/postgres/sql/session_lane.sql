SELECT version FROM subscriptions
WHERE organization_id = $1 AND id = $2 AND state = 1 AND (expires_at IS NULL OR expires_at > $3)
