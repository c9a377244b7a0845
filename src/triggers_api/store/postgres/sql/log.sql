-- In the order of the transactions that stored them, as far as none is still under way: what commits later
-- has a later xid.
SELECT e.id, e.type, e.payload, coalesce(e.dedup_id, e.repeated_dedup_id), e.source, e.key, e.metadata,
       e.occurred_at, e.deliver_at, s.status, q.event_id IS NOT NULL, e.operational, e.duplicate_of, e.xid::text
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
WHERE e.organization_id = $1 AND e.xid >= $2::text::xid8 AND (e.xid, e.id) > ($2::text::xid8, $3)
  AND e.xid < pg_snapshot_xmin(pg_current_snapshot())
  AND s.status IS DISTINCT FROM 6 AND NOT e.operational
ORDER BY e.xid, e.id
LIMIT $4
