SELECT e.id, e.type, e.payload, coalesce(e.dedup_id, e.repeated_dedup_id), e.source, e.key, e.metadata,
       e.occurred_at, e.deliver_at, s.status, q.event_id IS NOT NULL, e.operational, e.duplicate_of, s.status_at, s.reason
FROM events AS e
LEFT JOIN LATERAL (
    SELECT q.event_id
    FROM event_queue AS q
    WHERE q.organization_id = e.organization_id AND q.event_id = e.id
    LIMIT 1
) AS q ON true
LEFT JOIN LATERAL (
    SELECT s.status, s.status_at, s.reason
    FROM event_states AS s
    WHERE s.organization_id = e.organization_id AND s.event_id = e.id
    LIMIT 1
) AS s ON true
WHERE e.organization_id = $1 AND e.id = $2 AND s.status IS DISTINCT FROM 6
