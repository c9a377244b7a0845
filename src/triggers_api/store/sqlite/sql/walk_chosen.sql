-- As walk_dead_letters, of deliveries that were named.
SELECT d.id, d.event_id, e.type, d.subscription_id, d.status, d.origin, d.origin_id, d.error_class
FROM deliveries AS d
CROSS JOIN events AS e ON e.id = d.event_id
WHERE d.id IN carray(:chosen) AND d.organization_id = :organization_id
  AND d.id > :after AND d.id >= :since AND d.id < :until
ORDER BY d.id
LIMIT :limit
