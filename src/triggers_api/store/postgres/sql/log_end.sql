SELECT xid::text, id
FROM events
WHERE organization_id = $1 AND xid < pg_snapshot_xmin(pg_current_snapshot())
ORDER BY xid DESC, id DESC
LIMIT 1
