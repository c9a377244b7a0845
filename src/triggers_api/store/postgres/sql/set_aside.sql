WITH found AS MATERIALIZED (
    (
        SELECT event_id, status, status_at, reason, attempts FROM event_states
        WHERE organization_id = $1 AND status = 3 AND event_id < $2
        ORDER BY event_id DESC LIMIT $3
    )
    UNION ALL
    (
        SELECT event_id, status, status_at, reason, attempts FROM event_states
        WHERE organization_id = $1 AND status = 4 AND event_id < $2
        ORDER BY event_id DESC LIMIT $3
    )
    ORDER BY event_id DESC
    LIMIT $3
)
SELECT f.event_id, $1::uuid, e.type, f.status, f.status_at, f.reason, coalesce(f.attempts, 0)
FROM found AS f
CROSS JOIN LATERAL (
    SELECT e.type FROM events AS e WHERE e.organization_id = $1 AND e.id = f.event_id LIMIT 1
) AS e
ORDER BY f.event_id DESC
