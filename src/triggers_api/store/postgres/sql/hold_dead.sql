-- The record first, as whoever opens one again does.
SELECT d.id
FROM deliveries AS d
WHERE d.organization_id = $1 AND d.id = ANY ($2::uuid[]) AND d.status = 6
ORDER BY d.id
FOR UPDATE
