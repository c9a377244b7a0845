-- As walk_dead_letters, of one group. Compared as in dead_deliveries_of_groups.
SELECT d.id, d.event_id, e.type, d.subscription_id, d.status, d.origin, d.origin_id, d.reason
FROM (
    SELECT l.delivery_id
    FROM dead_letters AS l
    WHERE l.organization_id = $1 AND l.subscription_id = $6 AND l.error_class = $7
      AND (l.subscription_id, l.error_class, l.delivery_id) > ($6, $7, $2)
      AND l.delivery_id > $2 AND l.delivery_id >= $3 AND l.delivery_id < $4
    ORDER BY l.delivery_id
    LIMIT $5
) AS l
CROSS JOIN LATERAL (
    SELECT d.* FROM deliveries AS d WHERE d.organization_id = $1 AND d.id = l.delivery_id LIMIT 1
) AS d
CROSS JOIN LATERAL (
    SELECT e.type FROM events AS e WHERE e.organization_id = $1 AND e.id = d.event_id LIMIT 1
) AS e
ORDER BY d.id
