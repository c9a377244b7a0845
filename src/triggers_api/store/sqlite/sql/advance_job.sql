UPDATE jobs
SET status = ?2, body = ?3, position = ?4, due_at = ?5, lease_until = ?6, lease_token = ?7
WHERE id = ?1
