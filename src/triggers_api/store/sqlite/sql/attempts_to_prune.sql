-- In the order of their ending, with whose they are, and whether nothing more may happen to their deliveries.
SELECT a.id, d.organization_id, d.due_at IS NULL
FROM attempts AS a
LEFT JOIN deliveries AS d ON d.id = a.delivery_id
WHERE a.id > ?1 AND a.id < ?2
ORDER BY a.id
LIMIT ?3
