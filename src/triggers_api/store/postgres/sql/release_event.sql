-- $3: now. Routed from now on, as if it had come in now.
WITH released AS (
    DELETE FROM event_states
    WHERE organization_id = $1 AND event_id = $2 AND status IN (3, 4)
    RETURNING organization_id, event_id
)
INSERT INTO event_queue (organization_id, event_id, due_at, released_at)
SELECT r.organization_id, r.event_id, greatest($3::bigint, coalesce(e.deliver_at, 0)), $3
FROM released AS r
JOIN events AS e ON e.organization_id = r.organization_id AND e.id = r.event_id
RETURNING due_at
