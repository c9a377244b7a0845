UPDATE deliveries
SET status = 8, status_at = ?2, due_at = NULL, lease_until = ?2, reason = ?3
WHERE id = ?1
RETURNING subscription_id, order_key
