SELECT s.organization_id, o.subscription_id, o.order_key, o.sequence
FROM order_keys AS o
CROSS JOIN subscriptions AS s ON s.id = o.subscription_id
