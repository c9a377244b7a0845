-- The delivery at which a look over so many that are not finished ends.
SELECT delivery_id
FROM delivery_queue
WHERE organization_id = $1 AND delivery_id < $2 AND delivery_id >= $3 AND delivery_id < $4
ORDER BY delivery_id DESC
LIMIT 1 OFFSET $5
