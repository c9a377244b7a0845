-- In the order of the log, as far as no transaction is still under way. $2 and $3: behind which, NULL for
-- where the index is.
SELECT e.id, e.xid::text, e.type, e.source, e.key, e.operational, e.payload
FROM (SELECT coalesce($2::text::xid8, (SELECT p.xid FROM search_progress AS p WHERE p.organization_id = $1), '0')
                 AS xid,
             coalesce($3::uuid, (SELECT p.event_id FROM search_progress AS p WHERE p.organization_id = $1),
                      '00000000-0000-0000-0000-000000000000') AS id) AS behind
CROSS JOIN LATERAL (
    SELECT e.*
    FROM events AS e
    WHERE e.organization_id = $1 AND e.xid >= behind.xid AND (e.xid, e.id) > (behind.xid, behind.id)
      AND e.xid < pg_snapshot_xmin(pg_current_snapshot())
    ORDER BY e.xid, e.id
    LIMIT $4
) AS e
ORDER BY e.xid, e.id
