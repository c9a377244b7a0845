SELECT organization_id, id, subscription_id, due_at, priority, order_key, sequence
FROM deliveries
WHERE due_at IS NOT NULL
ORDER BY id
