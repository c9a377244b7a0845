SELECT e.id, e.type, e.payload, e.dedup_id, e.source, e.key, e.metadata, e.occurred_at, e.deliver_at,
       s.status, q.event_id IS NOT NULL, s.status_at, s.reason
FROM events AS e
LEFT JOIN event_queue AS q ON q.organization_id = e.organization_id AND q.event_id = e.id
LEFT JOIN event_states AS s ON s.organization_id = e.organization_id AND s.event_id = e.id
WHERE e.organization_id = $1 AND e.id = $2 AND s.status IS DISTINCT FROM 6
