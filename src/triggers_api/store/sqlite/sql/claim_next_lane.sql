-- The next subscription after ?1 for which something is due, found by one seek for each subscription.
SELECT d.subscription_id
FROM deliveries AS d INDEXED BY deliveries_lane
WHERE d.due_at IS NOT NULL AND d.subscription_id > ?1
ORDER BY d.subscription_id
LIMIT 1
