-- As hold_lines, for all deliveries of an event.
SELECT k.organization_id, k.subscription_id, k.order_key
FROM order_keys AS k
WHERE (k.organization_id, k.subscription_id, k.order_key) IN (
    SELECT q.organization_id, q.subscription_id, q.order_key
    FROM deliveries AS d
    CROSS JOIN LATERAL (
        SELECT q.organization_id, q.subscription_id, q.order_key
        FROM delivery_queue AS q
        WHERE q.organization_id = d.organization_id AND q.delivery_id = d.id AND q.order_key IS NOT NULL
        LIMIT 1
    ) AS q
    WHERE d.organization_id = $1 AND d.event_id = $2
)
ORDER BY k.organization_id, k.subscription_id, k.order_key
FOR UPDATE
