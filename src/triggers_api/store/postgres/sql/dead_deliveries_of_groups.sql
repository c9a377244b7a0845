-- As deliveries, of the dead letters of a subscription $6 with one of the error classes $7: of each the newest,
-- and the newest of them. Compared together, so that only the index that holds them in this order can be meant.
SELECT d.id, d.event_id, e.type, d.subscription_id, d.status, d.reason, d.origin, d.attempt_count, d.status_at,
       NULL::bigint, false, d.sequence
FROM (
    SELECT l.delivery_id
    FROM unnest($7::text[]) AS c (error_class)
    CROSS JOIN LATERAL (
        SELECT l.delivery_id
        FROM dead_letters AS l
        WHERE l.organization_id = $1 AND l.subscription_id = $6 AND l.error_class = c.error_class
          AND (l.subscription_id, l.error_class, l.delivery_id) < ($6, c.error_class, $2)
          AND (l.subscription_id, l.error_class, l.delivery_id) >= ($6, c.error_class, $3)
          AND l.delivery_id < $2 AND l.delivery_id >= $3 AND l.delivery_id < $4
        ORDER BY l.delivery_id DESC
        LIMIT $5
    ) AS l
    ORDER BY l.delivery_id DESC
    LIMIT $5
) AS l
CROSS JOIN LATERAL (
    SELECT d.* FROM deliveries AS d WHERE d.organization_id = $1 AND d.id = l.delivery_id LIMIT 1
) AS d
CROSS JOIN LATERAL (
    SELECT e.type FROM events AS e WHERE e.organization_id = $1 AND e.id = d.event_id LIMIT 1
) AS e
ORDER BY d.id DESC
