SELECT s.organization_id, h.subscription_id, h.failures, h.failing_since, h.opened, h.open_until, h.warned_at,
       h.error, h.probe_from, h.disabled_at
FROM endpoint_health AS h
CROSS JOIN subscriptions AS s ON s.id = h.subscription_id
