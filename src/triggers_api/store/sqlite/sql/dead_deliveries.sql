SELECT d.id, d.event_id, e.type, d.subscription_id, d.status, d.reason, d.origin, d.attempt_count,
       d.due_at, d.status_at, d.sequence
FROM deliveries AS d INDEXED BY deliveries_dead
CROSS JOIN events AS e ON e.id = d.event_id
WHERE d.organization_id = :organization_id AND d.status = 6
  AND d.id < :before AND d.id >= :since AND d.id < :until
ORDER BY d.id DESC
LIMIT :limit
