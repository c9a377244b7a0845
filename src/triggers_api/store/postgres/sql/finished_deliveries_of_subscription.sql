-- As finished_deliveries, of one subscription; pairs as in deliveries_by_subscription.
SELECT d.id, d.event_id, e.type, d.subscription_id, d.status, d.reason, d.origin, d.attempt_count, d.status_at,
       NULL::bigint, false, d.sequence
FROM (
    SELECT d.*
    FROM deliveries AS d
    WHERE d.organization_id = $1 AND d.subscription_id = $7
      AND (d.subscription_id, d.id) < ($7, $2) AND (d.subscription_id, d.id) >= ($7, $3)
      AND (d.subscription_id, d.id) < ($7, $4)
      AND d.id < $2 AND d.id >= $3 AND d.id < $4 AND d.status = $6::smallint
    ORDER BY d.id DESC
    LIMIT $5
) AS d
CROSS JOIN LATERAL (
    SELECT e.type FROM events AS e WHERE e.organization_id = $1 AND e.id = d.event_id LIMIT 1
) AS e
ORDER BY d.id DESC
