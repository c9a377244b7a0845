-- The lines in which these deliveries are, until the end of the transaction. Whoever takes them takes them
-- before the deliveries' rows, and in this order.
SELECT k.organization_id, k.subscription_id, k.order_key
FROM order_keys AS k
WHERE (k.organization_id, k.subscription_id, k.order_key) IN (
    SELECT q.organization_id, q.subscription_id, q.order_key
    FROM unnest($1::uuid[], $2::uuid[]) AS i (organization_id, delivery_id)
    CROSS JOIN LATERAL (
        SELECT q.organization_id, q.subscription_id, q.order_key
        FROM delivery_queue AS q
        WHERE q.organization_id = i.organization_id AND q.delivery_id = i.delivery_id
          AND q.order_key IS NOT NULL
        LIMIT 1
    ) AS q
)
ORDER BY k.organization_id, k.subscription_id, k.order_key
FOR UPDATE
