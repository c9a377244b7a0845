UPDATE endpoint_health SET open_until = 0 WHERE subscription_id = ?1 AND disabled_at IS NOT NULL
