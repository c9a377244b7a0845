-- Whether anything names a transaction that this server has not come to: it was dumped from another one.
SELECT EXISTS (
    SELECT
    FROM organizations AS o
    CROSS JOIN LATERAL (
        SELECT
        FROM events AS e
        WHERE e.organization_id = o.id AND e.xid >= pg_snapshot_xmax(pg_current_snapshot())
        LIMIT 1
    ) AS e
) OR EXISTS (
    SELECT FROM inboxes AS i WHERE i.position_xid >= pg_snapshot_xmax(pg_current_snapshot())
) OR EXISTS (
    SELECT FROM search_progress AS p WHERE p.xid >= pg_snapshot_xmax(pg_current_snapshot())
)
