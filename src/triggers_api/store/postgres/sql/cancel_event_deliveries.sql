WITH gone AS (
    DELETE FROM delivery_queue AS q
    USING deliveries AS d
    WHERE d.organization_id = $1 AND d.event_id = $2
      AND q.organization_id = d.organization_id AND q.delivery_id = d.id
    RETURNING q.delivery_id
)
UPDATE deliveries AS d
SET status = 8, status_at = $3, reason = $4
FROM gone AS g
WHERE d.organization_id = $1 AND d.id = g.delivery_id
