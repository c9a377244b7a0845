UPDATE events
SET status = CASE WHEN deliver_at > ?3 THEN 2 ELSE 0 END, status_at = ?3
WHERE id = ?1 AND organization_id = ?2 AND status IN (3, 4)
RETURNING max(?3, coalesce(deliver_at, 0))
