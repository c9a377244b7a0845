-- The first organization from this one on that has dead letters, known to the settings half or not.
SELECT organization_id
FROM deliveries INDEXED BY deliveries_dead
WHERE status = 6 AND organization_id >= ?1
ORDER BY organization_id
LIMIT 1
