-- What up to $6 attempts of the newest $5 deliveries of a window came to.
SELECT duration_ms, coalesce(status_code BETWEEN 200 AND 299, false) AS succeeded, count(*), max(started_at)
FROM (
    SELECT a.duration_ms, a.status_code, a.started_at
    FROM (
        SELECT d.id
        FROM deliveries AS d
        WHERE d.organization_id = $1 AND d.subscription_id = $2
          AND (d.subscription_id, d.id) >= ($2, $3) AND (d.subscription_id, d.id) < ($2, $4)
          AND d.id >= $3 AND d.id < $4
        ORDER BY d.id DESC
        LIMIT $5
    ) AS d
    CROSS JOIN LATERAL (
        SELECT a.duration_ms, a.status_code, a.started_at
        FROM attempts AS a
        WHERE a.organization_id = $1 AND a.delivery_id = d.id
        ORDER BY a.number
        LIMIT 1000000
    ) AS a
    LIMIT $6
) AS tried
GROUP BY duration_ms, succeeded
