-- As hold_lines, for lines that are known.
SELECT k.organization_id, k.subscription_id, k.order_key
FROM order_keys AS k
JOIN unnest($1::uuid[], $2::uuid[], $3::text[]) AS l (organization_id, subscription_id, order_key)
     USING (organization_id, subscription_id, order_key)
ORDER BY k.organization_id, k.subscription_id, k.order_key
FOR UPDATE OF k
