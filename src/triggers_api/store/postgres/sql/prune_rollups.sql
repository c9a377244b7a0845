DELETE FROM rollups
WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM rollups WHERE step_s = $1 AND started_at < $2 LIMIT $3 FOR UPDATE SKIP LOCKED
))
