-- In the order of their ending, and whether something may still happen to their deliveries.
SELECT a.id, d.due_at IS NOT NULL
FROM attempts AS a
LEFT JOIN deliveries AS d ON d.id = a.delivery_id
WHERE a.id > ?1 AND a.id < ?2
ORDER BY a.id
LIMIT ?3
