-- As walk_dead_letters, of one group.
SELECT d.id, d.event_id, e.type, d.subscription_id, d.status, d.origin, d.origin_id, d.error_class
FROM deliveries AS d INDEXED BY deliveries_dead_group
CROSS JOIN events AS e ON e.id = d.event_id
WHERE d.status = 6 AND d.organization_id = :organization_id AND d.subscription_id = :subscription_id
  AND d.error_class = :error_class AND d.id > :after AND d.id >= :since AND d.id < :until
ORDER BY d.id
LIMIT :limit
