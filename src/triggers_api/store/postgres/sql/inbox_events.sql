SELECT e.xid::text, e.id, e.type, e.deliver_at, e.operational,
       (SELECT s.status FROM event_states AS s WHERE s.organization_id = $1 AND s.event_id = e.id),
       EXISTS (SELECT FROM event_queue AS q WHERE q.organization_id = $1 AND q.event_id = e.id)
FROM unnest($2::uuid[]) AS i (id)
CROSS JOIN LATERAL (
    SELECT e.xid, e.id, e.type, e.deliver_at, e.operational
    FROM events AS e
    WHERE e.organization_id = $1 AND e.id = i.id
    LIMIT 1
) AS e
