-- The lines in which these deliveries are, until the end of the transaction. Whoever takes them takes them
-- before the deliveries' rows, and in this order.
WITH line AS MATERIALIZED (
    SELECT DISTINCT q.organization_id, q.subscription_id, q.order_key COLLATE "C" AS order_key
    FROM unnest($1::uuid[], $2::uuid[]) AS i (organization_id, delivery_id)
    CROSS JOIN LATERAL (
        SELECT q.organization_id, q.subscription_id, q.order_key
        FROM delivery_queue AS q
        WHERE q.organization_id = i.organization_id AND q.delivery_id = i.delivery_id
        LIMIT 1
    ) AS q
    WHERE q.order_key IS NOT NULL
    ORDER BY q.organization_id, q.subscription_id, order_key
)
SELECT k.organization_id, k.subscription_id, k.order_key
FROM line AS l
CROSS JOIN LATERAL (
    SELECT k.organization_id, k.subscription_id, k.order_key
    FROM order_keys AS k
    WHERE k.organization_id = l.organization_id AND k.subscription_id = l.subscription_id
      AND k.order_key = l.order_key
    LIMIT 1
    FOR UPDATE OF k
) AS k
