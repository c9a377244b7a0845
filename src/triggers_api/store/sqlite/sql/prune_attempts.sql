-- One of their deliveries may have been opened again since they were looked for.
DELETE FROM attempts
WHERE id IN carray(?1) AND NOT EXISTS (
    SELECT 1 FROM deliveries AS d WHERE d.id = attempts.delivery_id AND d.due_at IS NOT NULL
)
