-- What up to ?6 attempts of the newest ?5 deliveries of a window came to.
SELECT duration_ms, coalesce(status_code BETWEEN 200 AND 299, 0) AS succeeded, count(*), max(started_at)
FROM (
    SELECT a.duration_ms, a.status_code, a.started_at
    FROM (
        SELECT d.id
        FROM deliveries AS d INDEXED BY deliveries_subscription
        WHERE d.subscription_id = ?1 AND d.organization_id = ?2 AND d.id >= ?3 AND d.id < ?4
        ORDER BY d.id DESC
        LIMIT ?5
    ) AS looked_at
    CROSS JOIN attempts AS a INDEXED BY attempts_delivery ON a.delivery_id = looked_at.id
    LIMIT ?6
)
GROUP BY duration_ms, succeeded
