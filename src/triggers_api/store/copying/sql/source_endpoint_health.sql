SELECT s.organization_id, h.subscription_id, h.failures, h.failing_since, h.opened, h.open_until, h.warned_at,
       h.error
FROM endpoint_health AS h
CROSS JOIN subscriptions AS s ON s.id = h.subscription_id
