-- Compared as pairs, so that only the index that holds them in this order can be meant.
SELECT asked.id
FROM unnest($2::uuid[]) AS asked (id)
CROSS JOIN LATERAL (
    SELECT FROM deliveries AS d
    WHERE d.organization_id = $1
      AND (d.event_id, d.subscription_id) >= (asked.id, $3)
      AND (d.event_id, d.subscription_id) <= (asked.id, $3)
    LIMIT 1
) AS d
