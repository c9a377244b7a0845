-- The states of the newest ?5 deliveries of a window.
SELECT status, count(*)
FROM (
    SELECT d.status
    FROM deliveries AS d INDEXED BY deliveries_subscription
    WHERE d.subscription_id = ?1 AND d.organization_id = ?2 AND d.id >= ?3 AND d.id < ?4
    ORDER BY d.id DESC
    LIMIT ?5
)
GROUP BY status
