-- The delivery at which a look over so many ends.
SELECT id
FROM deliveries INDEXED BY deliveries_organization
WHERE organization_id = :organization_id AND id < :before AND id >= :since AND id < :until
ORDER BY id DESC
LIMIT 1 OFFSET :depth
