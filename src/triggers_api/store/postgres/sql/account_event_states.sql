-- An event that neither waits, nor has a state of its own, nor was wanted by anybody is in no column, and
-- the books do not balance.
SELECT organization_id, status, count(*)
FROM (
    SELECT e.organization_id,
           CASE WHEN s.status <> 1 THEN s.status
                WHEN q.event_id IS NOT NULL AND e.deliver_at > $1 THEN 2
                WHEN q.event_id IS NOT NULL THEN 0
                WHEN s.status = 1 OR EXISTS (
                    SELECT FROM deliveries AS d
                    WHERE d.organization_id = e.organization_id AND d.event_id = e.id AND d.origin = 0
                ) THEN 1 END AS status
    FROM events AS e
    LEFT JOIN event_queue AS q ON q.organization_id = e.organization_id AND q.event_id = e.id
    LEFT JOIN event_states AS s ON s.organization_id = e.organization_id AND s.event_id = e.id
) AS standing
WHERE status IS NOT NULL
GROUP BY organization_id, status
