UPDATE endpoint_health SET open_until = 0
WHERE organization_id = $1 AND subscription_id = $2 AND disabled_at IS NOT NULL
