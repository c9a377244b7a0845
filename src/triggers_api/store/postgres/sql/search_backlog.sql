SELECT o.id, t.events
FROM organizations AS o
LEFT JOIN search_progress AS p ON p.organization_id = o.id
CROSS JOIN LATERAL (
    SELECT count(*) AS events
    FROM (
        SELECT FROM events AS e
        WHERE e.organization_id = o.id AND e.xid >= coalesce(p.xid, '0')
          AND (e.xid, e.id)
              > (coalesce(p.xid, '0'), coalesce(p.event_id, '00000000-0000-0000-0000-000000000000'))
          AND e.xid < pg_snapshot_xmin(pg_current_snapshot())
        LIMIT $1
    ) AS e
) AS t
WHERE o.deleted_at IS NULL AND t.events > 0
