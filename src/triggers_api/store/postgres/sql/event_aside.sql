SELECT s.event_id, s.organization_id, e.type, s.status, s.status_at, s.reason, coalesce(s.attempts, 0)
FROM event_states AS s
CROSS JOIN LATERAL (
    SELECT e.type FROM events AS e WHERE e.organization_id = s.organization_id AND e.id = s.event_id LIMIT 1
) AS e
WHERE s.event_id = $1 AND s.status IN (3, 4) AND s.reason IS NOT NULL
