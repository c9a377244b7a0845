SELECT d.id, d.status
FROM deliveries AS d INDEXED BY deliveries_lane
WHERE d.subscription_id = ?1 AND d.due_at <= ?2 AND d.due_at IS NOT NULL AND d.lease_until <= ?2
ORDER BY d.due_at, d.id
LIMIT ?3
