DELETE FROM endpoint_health
WHERE subscription_id IN (
    SELECT h.subscription_id
    FROM endpoint_health AS h
    CROSS JOIN subscriptions AS s ON s.id = h.subscription_id
    WHERE s.deleted_at IS NOT NULL
)
