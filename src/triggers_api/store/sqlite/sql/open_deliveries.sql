-- As deliveries, of what is not finished: for when that is little beside all there is.
SELECT d.id, d.event_id, e.type, d.subscription_id, d.status, d.reason, d.origin, d.attempt_count,
       d.due_at, d.status_at, d.sequence
FROM deliveries AS d INDEXED BY deliveries_lane
CROSS JOIN events AS e ON e.id = d.event_id
WHERE d.due_at IS NOT NULL AND d.organization_id = :organization_id
  AND (:subscription_id IS NULL OR d.subscription_id = :subscription_id)
  AND d.id < :before AND d.id >= :since AND d.id < :until
  AND d.status = :status
ORDER BY d.id DESC
LIMIT :limit
