UPDATE deliveries
SET status = 8, status_at = ?2, due_at = NULL, lease_until = ?2, reason = ?3
WHERE event_id = ?1 AND due_at IS NOT NULL
RETURNING subscription_id, order_key
