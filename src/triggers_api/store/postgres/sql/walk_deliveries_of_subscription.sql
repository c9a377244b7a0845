-- Compared as in deliveries_by_subscription.
SELECT d.id, d.event_id, e.type, d.subscription_id, d.status, d.origin, d.origin_id, d.reason
FROM (
    SELECT d.*
    FROM deliveries AS d
    WHERE d.organization_id = $1 AND d.subscription_id = $6
      AND (d.subscription_id, d.id) > ($6, $2) AND (d.subscription_id, d.id) >= ($6, $3)
      AND (d.subscription_id, d.id) < ($6, $4)
      AND d.id > $2 AND d.id >= $3 AND d.id < $4
    ORDER BY d.subscription_id, d.id
    LIMIT $5
) AS d
CROSS JOIN LATERAL (
    SELECT e.type FROM events AS e WHERE e.organization_id = $1 AND e.id = d.event_id LIMIT 1
) AS e
ORDER BY d.id
