-- When the first of what waits for a subscription is or was due.
SELECT d.due_at
FROM deliveries AS d INDEXED BY deliveries_lane
WHERE d.subscription_id = ?1 AND d.organization_id = ?2 AND d.due_at IS NOT NULL AND d.due_at < ?3
  AND d.status IN (2, 4)
ORDER BY d.due_at
LIMIT 1
