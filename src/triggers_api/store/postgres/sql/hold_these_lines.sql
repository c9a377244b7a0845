-- As hold_lines, for lines that are known.
WITH line AS MATERIALIZED (
    SELECT DISTINCT q.organization_id, q.subscription_id, q.order_key COLLATE "C" AS order_key
    FROM unnest($1::uuid[], $2::uuid[], $3::text[]) AS q (organization_id, subscription_id, order_key)
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
