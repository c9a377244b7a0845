-- As deliveries, of one group of dead letters.
SELECT d.id, d.event_id, e.type, d.subscription_id, d.status, d.reason, d.origin, d.attempt_count,
       d.due_at, d.status_at, d.sequence
FROM deliveries AS d INDEXED BY deliveries_dead_group
CROSS JOIN events AS e ON e.id = d.event_id
WHERE d.status = 6 AND d.organization_id = :organization_id AND d.subscription_id = :subscription_id
  AND d.error_class = :error_class AND d.id < :before AND d.id >= :since AND d.id < :until
ORDER BY d.id DESC
LIMIT :limit
