INSERT INTO event_queue (organization_id, event_id, due_at)
SELECT e.organization_id, e.id, greatest($2::bigint, coalesce(e.deliver_at, 0))
FROM events AS e
LEFT JOIN event_queue AS q ON q.organization_id = e.organization_id AND q.event_id = e.id
LEFT JOIN event_states AS s ON s.organization_id = e.organization_id AND s.event_id = e.id
WHERE q.event_id IS NULL AND s.event_id IS NULL AND NOT EXISTS (
    SELECT FROM deliveries AS d
    WHERE d.organization_id = e.organization_id AND d.event_id = e.id AND d.origin IN (0, 2)
)
LIMIT $1
ON CONFLICT (organization_id, event_id) DO NOTHING
