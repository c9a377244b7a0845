DELETE FROM attempts
WHERE id IN (
    SELECT a.id FROM attempts AS a
    WHERE NOT EXISTS (SELECT 1 FROM deliveries AS d WHERE d.id = a.delivery_id)
    LIMIT ?1
)
