-- The states of the newest $5 deliveries of a window. Compared as in deliveries_by_subscription.
SELECT CASE WHEN q.lease_token <> 0 THEN 3 ELSE d.status END AS standing, count(*)
FROM (
    SELECT d.id, d.status
    FROM deliveries AS d
    WHERE d.organization_id = $1 AND d.subscription_id = $2
      AND (d.subscription_id, d.id) >= ($2, $3) AND (d.subscription_id, d.id) < ($2, $4)
      AND d.id >= $3 AND d.id < $4
    ORDER BY d.id DESC
    LIMIT $5
) AS d
LEFT JOIN LATERAL (
    SELECT q.lease_token
    FROM delivery_queue AS q
    WHERE q.organization_id = $1 AND q.delivery_id = d.id
    LIMIT 1
) AS q ON true
GROUP BY standing
