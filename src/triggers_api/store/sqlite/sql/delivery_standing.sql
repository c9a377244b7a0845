SELECT d.status, d.attempt_count, e.status = 6, s.state = 2, d.subscription_id, d.order_key, d.sequence
FROM deliveries AS d
CROSS JOIN events AS e ON e.id = d.event_id
CROSS JOIN subscriptions AS s ON s.id = d.subscription_id
WHERE d.id = ?1 AND d.organization_id = ?2
