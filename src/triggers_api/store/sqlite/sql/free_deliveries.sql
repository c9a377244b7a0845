UPDATE deliveries INDEXED BY deliveries_leased
SET status = CASE attempt_count WHEN 0 THEN 2 ELSE 4 END, status_at = ?2, lease_until = ?2
WHERE status = 3 AND lease_until <= ?1
