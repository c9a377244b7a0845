SELECT e.id, e.type, e.payload, coalesce(e.dedup_id, e.repeated_dedup_id), e.source, e.key, e.metadata,
       e.occurred_at, e.deliver_at, s.status, q.event_id IS NOT NULL, e.operational, e.duplicate_of
FROM unnest($2::uuid[]) AS i (id)
CROSS JOIN LATERAL (
    SELECT e.* FROM events AS e WHERE e.organization_id = $1 AND e.id = i.id LIMIT 1
) AS e
LEFT JOIN LATERAL (
    SELECT q.event_id FROM event_queue AS q WHERE q.organization_id = $1 AND q.event_id = e.id LIMIT 1
) AS q ON true
LEFT JOIN LATERAL (
    SELECT s.status FROM event_states AS s WHERE s.organization_id = $1 AND s.event_id = e.id LIMIT 1
) AS s ON true
WHERE s.status IS DISTINCT FROM 6
