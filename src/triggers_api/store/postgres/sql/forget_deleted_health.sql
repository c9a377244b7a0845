DELETE FROM endpoint_health AS h
USING subscriptions AS s
WHERE s.organization_id = h.organization_id AND s.id = h.subscription_id AND s.deleted_at IS NOT NULL
