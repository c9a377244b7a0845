-- The delivery at which a look over so many ends.
SELECT id
FROM deliveries
WHERE organization_id = $1 AND id < $2 AND id >= $3 AND id < $4
ORDER BY id DESC
LIMIT 1 OFFSET $5
