WITH moment (now) AS (SELECT ?1),
     held (id, token) AS (VALUES (?, ?) /* rows */)
SELECT d.id, d.lease_token, d.attempt_count, d.subscription_id, d.order_key
FROM held
CROSS JOIN deliveries AS d ON d.id = held.id
WHERE d.lease_token = held.token AND d.status = 3 AND d.lease_until > (SELECT now FROM moment)
