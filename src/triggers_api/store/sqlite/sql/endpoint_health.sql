SELECT h.subscription_id, h.failures, h.failing_since, h.error, h.opened, h.open_until, h.probe_from, h.warned_at,
       h.disabled_at
FROM endpoint_health AS h
WHERE h.subscription_id IN carray(?1)
