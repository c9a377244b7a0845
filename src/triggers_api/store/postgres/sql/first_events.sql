-- Who holds these dedup_ids, as seen after the statement that met them: by place in the arrays.
SELECT i.place, e.id, e.type, e.deliver_at, s.status, q.event_id IS NOT NULL, e.payload = i.payload
FROM unnest($1::uuid[], $2::text[], $3::bytea[]) WITH ORDINALITY
     AS i (organization_id, dedup_id, payload, place)
CROSS JOIN LATERAL (
    SELECT e.organization_id, e.id, e.type, e.deliver_at, e.payload
    FROM events AS e
    WHERE e.organization_id = i.organization_id AND e.dedup_id = i.dedup_id
    LIMIT 1
) AS e
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
