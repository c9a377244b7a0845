-- As deliveries, of what is not finished. $6: the status; $7: of this subscription, or NULL.
SELECT d.id, d.event_id, e.type, d.subscription_id, d.status, d.reason, d.origin, d.attempt_count, d.status_at,
       q.due_at, q.lease_token <> 0, d.sequence
FROM delivery_queue AS q
CROSS JOIN LATERAL (
    SELECT d.*
    FROM deliveries AS d
    WHERE d.organization_id = q.organization_id AND d.id = q.delivery_id
    LIMIT 1
) AS d
CROSS JOIN LATERAL (
    SELECT e.type FROM events AS e WHERE e.organization_id = d.organization_id AND e.id = d.event_id LIMIT 1
) AS e
WHERE q.organization_id = $1 AND q.delivery_id < $2 AND q.delivery_id >= $3 AND q.delivery_id < $4
  AND $6::smallint = CASE WHEN q.lease_token <> 0 THEN 3 ELSE d.status END
  AND ($7::uuid IS NULL OR q.subscription_id = $7)
ORDER BY q.delivery_id DESC
LIMIT $5
