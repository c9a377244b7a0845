-- The log behind a place (see log), with what the inbox has a row for.
SELECT e.xid::text, e.id, e.type, e.deliver_at, e.operational, s.status, q.event_id IS NOT NULL,
       octet_length(e.payload), i.event_id IS NOT NULL, i.available_at, i.lease_token
FROM events AS e
LEFT JOIN LATERAL (
    SELECT q.event_id
    FROM event_queue AS q
    WHERE q.organization_id = e.organization_id AND q.event_id = e.id
    LIMIT 1
) AS q ON true
LEFT JOIN LATERAL (
    SELECT s.status
    FROM event_states AS s
    WHERE s.organization_id = e.organization_id AND s.event_id = e.id
    LIMIT 1
) AS s ON true
LEFT JOIN LATERAL (
    SELECT i.event_id, i.available_at, i.lease_token
    FROM inbox_items AS i
    WHERE i.organization_id = $1 AND i.cursor = $5 AND i.xid = e.xid AND i.event_id = e.id
    LIMIT 1
) AS i ON true
WHERE e.organization_id = $1 AND e.xid >= $2::text::xid8 AND (e.xid, e.id) > ($2::text::xid8, $3)
  AND e.xid < pg_snapshot_xmin(pg_current_snapshot())
ORDER BY e.xid, e.id
LIMIT $4
