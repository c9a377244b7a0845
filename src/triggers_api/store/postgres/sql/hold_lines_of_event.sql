-- As hold_lines, for all deliveries of an event.
WITH line AS MATERIALIZED (
    SELECT DISTINCT q.organization_id, q.subscription_id, q.order_key COLLATE "C" AS order_key
    FROM deliveries AS d
    CROSS JOIN LATERAL (
        SELECT q.organization_id, q.subscription_id, q.order_key
        FROM delivery_queue AS q
        WHERE q.organization_id = d.organization_id AND q.delivery_id = d.id
        LIMIT 1
    ) AS q
    WHERE d.organization_id = $1 AND d.event_id = $2 AND q.order_key IS NOT NULL
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
