-- The first organization from this one on that has deliveries, known to the settings half or not.
SELECT organization_id
FROM deliveries INDEXED BY deliveries_organization
WHERE organization_id >= ?1
ORDER BY organization_id
LIMIT 1
