SELECT 1 FROM subscriptions
WHERE id = ?1 AND organization_id = ?2 AND state = 1 AND (expires_at IS NULL OR expires_at > ?3)
