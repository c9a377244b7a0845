SELECT s.event_id FROM event_states AS s
WHERE NOT EXISTS (
    SELECT FROM events AS e WHERE e.organization_id = s.organization_id AND e.id = s.event_id
)
LIMIT $1
