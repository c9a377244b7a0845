SELECT NOT EXISTS (
           SELECT FROM event_queue AS q WHERE q.organization_id = e.organization_id AND q.event_id = e.id
       ) AND coalesce(s.status, 1) = 1
FROM events AS e
LEFT JOIN event_states AS s ON s.organization_id = e.organization_id AND s.event_id = e.id
WHERE e.organization_id = $1 AND e.id = $2 AND s.status IS DISTINCT FROM 6
