UPDATE deliveries
SET status = 3, status_at = ?1, lease_token = ?2, lease_until = ?3
WHERE id IN carray(?4)
