-- In the order of the transactions that stored them, as far as none is still under way: what commits later
-- has a later xid.
SELECT e.id, e.type, e.payload, e.dedup_id, e.source, e.key, e.metadata, e.occurred_at, e.deliver_at,
       s.status, q.event_id IS NOT NULL, e.xid::text
FROM events AS e
LEFT JOIN event_queue AS q ON q.organization_id = e.organization_id AND q.event_id = e.id
LEFT JOIN event_states AS s ON s.organization_id = e.organization_id AND s.event_id = e.id
WHERE e.organization_id = $1 AND (e.xid, e.id) > ($2::text::xid8, $3)
  AND e.xid < pg_snapshot_xmin(pg_current_snapshot())
  AND s.status IS DISTINCT FROM 6
ORDER BY e.xid, e.id
LIMIT $4
