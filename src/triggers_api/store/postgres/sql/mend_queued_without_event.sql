DELETE FROM event_queue
WHERE (organization_id, event_id) IN (
    SELECT q.organization_id, q.event_id FROM event_queue AS q
    WHERE NOT EXISTS (
        SELECT FROM events AS e WHERE e.organization_id = q.organization_id AND e.id = q.event_id
    )
    LIMIT $1
)
