SELECT d.id, d.status
FROM subscriptions AS s
CROSS JOIN deliveries AS d INDEXED BY deliveries_lane ON d.subscription_id = s.id
WHERE s.id = ?1 AND s.organization_id = ?2 AND s.state = 1 AND (s.expires_at IS NULL OR s.expires_at > ?3)
  AND d.due_at <= ?3 AND d.due_at IS NOT NULL AND d.lease_until <= ?3
ORDER BY d.due_at, d.id
LIMIT ?4
