-- Its own state, whether it waits to be routed, and whether it has been routed before.
SELECT s.status,
       EXISTS (SELECT FROM event_queue AS q WHERE q.organization_id = $1 AND q.event_id = $2),
       EXISTS (
           SELECT FROM deliveries AS d
           WHERE d.organization_id = $1 AND d.event_id = $2 AND d.origin = 0
       )
FROM events AS e
LEFT JOIN event_states AS s ON s.organization_id = e.organization_id AND s.event_id = e.id
WHERE e.organization_id = $1 AND e.id = $2 AND s.status IS DISTINCT FROM 6
