UPDATE events
SET status = 6, status_at = ?3, dedup_id = NULL, source = NULL, key = NULL, metadata = NULL
WHERE id = ?1 AND organization_id = ?2 AND status <> 6
RETURNING id
