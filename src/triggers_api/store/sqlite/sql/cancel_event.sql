UPDATE events
SET status = 5, status_at = ?3
WHERE id = ?1 AND organization_id = ?2 AND status IN (0, 2)
RETURNING id
