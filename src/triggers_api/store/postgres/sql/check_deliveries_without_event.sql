SELECT d.id FROM deliveries AS d
WHERE NOT EXISTS (
    SELECT FROM events AS e WHERE e.organization_id = d.organization_id AND e.id = d.event_id
)
LIMIT $1
