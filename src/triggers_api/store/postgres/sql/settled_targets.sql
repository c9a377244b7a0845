-- The subscriptions that claimed deliveries are for.
SELECT d.id, s.body
FROM unnest($1::uuid[], $2::uuid[]) AS i (organization_id, delivery_id)
JOIN deliveries AS d ON d.organization_id = i.organization_id AND d.id = i.delivery_id
JOIN subscriptions AS s ON s.organization_id = d.organization_id AND s.id = d.subscription_id
