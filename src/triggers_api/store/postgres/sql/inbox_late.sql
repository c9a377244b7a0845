-- Whether an event is stored that the log does not tell of yet.
SELECT EXISTS (
    SELECT FROM events WHERE organization_id = $1 AND xid >= pg_snapshot_xmin(pg_current_snapshot())
)
