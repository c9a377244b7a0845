UPDATE deliveries
SET status = CASE WHEN attempt_count > 0 THEN 4 ELSE 2 END,
    priority = attempt_count > 0, due_at = ?2, lease_until = ?2, lease_token = ?3
WHERE id IN (SELECT id FROM deliveries WHERE status IN (2, 3, 4) AND due_at IS NULL LIMIT ?1)
