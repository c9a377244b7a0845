-- The first that is not finished of the line after ?2 of the subscription ?1, or of a later one.
SELECT d.id, d.subscription_id, d.order_key, d.due_at
FROM deliveries AS d INDEXED BY deliveries_order
WHERE d.order_key IS NOT NULL AND d.due_at IS NOT NULL
  AND (d.subscription_id, d.order_key) > (?1, ?2)
ORDER BY d.subscription_id, d.order_key, d.sequence
LIMIT 1
