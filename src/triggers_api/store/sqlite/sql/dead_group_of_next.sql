-- The first group of dead letters of the next subscription that has one.
SELECT d.subscription_id, d.error_class
FROM deliveries AS d INDEXED BY deliveries_dead_group
WHERE d.status = 6 AND d.organization_id = ?1 AND d.subscription_id > ?2
ORDER BY d.subscription_id, d.error_class
LIMIT 1
