-- The next group of dead letters of a subscription, behind an error class.
SELECT d.subscription_id, d.error_class
FROM deliveries AS d INDEXED BY deliveries_dead_group
WHERE d.status = 6 AND d.organization_id = ?1 AND d.subscription_id = ?2 AND d.error_class > ?3
ORDER BY d.error_class
LIMIT 1
