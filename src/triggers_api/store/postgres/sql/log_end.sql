-- By the column: a bare xid in ORDER BY would be the text that is selected, by which 1000 is before 999.
SELECT e.xid::text, e.id
FROM events AS e
WHERE e.organization_id = $1 AND e.xid < pg_snapshot_xmin(pg_current_snapshot())
ORDER BY e.xid DESC, e.id DESC
LIMIT 1
