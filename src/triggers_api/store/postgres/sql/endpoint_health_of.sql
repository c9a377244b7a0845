SELECT h.subscription_id, h.failures, h.failing_since, h.error, h.opened, h.open_until, h.probe_from, h.warned_at,
       h.disabled_at
FROM endpoint_health AS h
JOIN subscriptions AS s ON s.organization_id = h.organization_id AND s.id = h.subscription_id
WHERE h.organization_id = $1 AND h.subscription_id = ANY ($2::uuid[]) AND s.deleted_at IS NULL
