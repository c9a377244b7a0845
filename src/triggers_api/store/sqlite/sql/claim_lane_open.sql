SELECT state = 0 AND (expires_at IS NULL OR expires_at > ?2) FROM subscriptions WHERE id = ?1
