SELECT q.event_id FROM event_queue AS q
WHERE NOT EXISTS (
    SELECT FROM events AS e WHERE e.organization_id = q.organization_id AND e.id = q.event_id
)
LIMIT $1
