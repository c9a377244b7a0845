-- What was finished has had its turn: from here on it is in no order.
UPDATE deliveries
SET order_key = NULL, status = ?2, status_at = ?3, attempt_base = attempt_count, due_at = ?3, lease_until = ?3,
    reason = NULL
WHERE id = ?1
