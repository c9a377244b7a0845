-- Compared as pairs, so that only the index that holds them in this order can be meant; by itself too, so that
-- the look begins at the bound.
SELECT d.id, d.event_id, e.type, d.subscription_id, d.status, d.reason, d.origin, d.attempt_count, d.status_at,
       q.due_at, coalesce(q.lease_token <> 0, false), d.sequence
FROM deliveries AS d
CROSS JOIN LATERAL (
    SELECT e.type FROM events AS e WHERE e.organization_id = d.organization_id AND e.id = d.event_id LIMIT 1
) AS e
LEFT JOIN LATERAL (
    SELECT q.due_at, q.lease_token
    FROM delivery_queue AS q
    WHERE q.organization_id = d.organization_id AND q.delivery_id = d.id
    LIMIT 1
) AS q ON true
WHERE d.organization_id = $1 AND d.subscription_id = $6
  AND (d.subscription_id, d.id) < ($6, $2) AND (d.subscription_id, d.id) >= ($6, $3)
  AND (d.subscription_id, d.id) < ($6, $4)
  AND d.id < $2 AND d.id >= $3 AND d.id < $4
ORDER BY d.id DESC
LIMIT $5
