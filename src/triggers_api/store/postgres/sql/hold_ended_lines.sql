-- As hold_lines, for what waits for subscriptions that have ended ($1 NULL) or for this one, some at a time.
SELECT k.organization_id, k.subscription_id, k.order_key
FROM order_keys AS k
WHERE (k.organization_id, k.subscription_id, k.order_key) IN (
    SELECT q.organization_id, q.subscription_id, q.order_key
    FROM subscriptions AS s
    JOIN delivery_queue AS q ON q.subscription_id = s.id
    WHERE s.state = 2 AND ($1::uuid IS NULL OR s.id = $1) AND q.order_key IS NOT NULL
    LIMIT $2
)
ORDER BY k.organization_id, k.subscription_id, k.order_key
FOR UPDATE
