-- What was finished has had its turn: from here on it is in no line.
UPDATE deliveries
SET status = ?2, status_at = ?3, attempt_base = attempt_count, due_at = ?3, lease_until = ?3, priority = 1,
    reason = NULL, order_key = NULL
WHERE id = ?1
