-- As hold_lines, for what waits for subscriptions that have ended ($1 NULL) or for this one, some at a time.
WITH line AS MATERIALIZED (
    SELECT DISTINCT q.organization_id, q.subscription_id, q.order_key COLLATE "C" AS order_key
    FROM subscriptions AS s
    CROSS JOIN LATERAL (
        SELECT q.organization_id, q.subscription_id, q.order_key
        FROM delivery_queue AS q
        WHERE q.organization_id = s.organization_id AND q.subscription_id = s.id AND q.order_key IS NOT NULL
        LIMIT $2
    ) AS q
    WHERE s.state = 2 AND ($1::uuid IS NULL OR s.id = $1)
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
