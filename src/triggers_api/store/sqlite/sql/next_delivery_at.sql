-- The last moment there is stands for a delivery that waits for another one: codes.PARKED.
SELECT min(due_at)
FROM (
    SELECT min(due_at) AS due_at FROM deliveries INDEXED BY deliveries_due
    WHERE due_at IS NOT NULL AND priority = 0 AND due_at > ?1 AND due_at < 140737488355327
    UNION ALL
    SELECT min(due_at) FROM deliveries INDEXED BY deliveries_due
    WHERE due_at IS NOT NULL AND priority = 1 AND due_at > ?1 AND due_at < 140737488355327
)
