-- The first of each line that is not finished.
WITH line (subscription_id, order_key) AS (VALUES (?, ?) /* rows */)
SELECT l.subscription_id, l.order_key,
       (
           SELECT d.id
           FROM deliveries AS d INDEXED BY deliveries_order
           WHERE d.subscription_id = l.subscription_id AND d.order_key = l.order_key
             AND d.order_key IS NOT NULL AND d.due_at IS NOT NULL
           ORDER BY d.sequence
           LIMIT 1
       )
FROM line AS l
