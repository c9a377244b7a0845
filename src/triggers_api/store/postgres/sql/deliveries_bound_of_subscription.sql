-- The delivery at which a look over so many of a subscription ends; pairs as in deliveries_by_subscription.
SELECT id
FROM deliveries
WHERE organization_id = $1 AND subscription_id = $6
  AND (subscription_id, id) < ($6, $2) AND (subscription_id, id) >= ($6, $3) AND (subscription_id, id) < ($6, $4)
  AND id < $2 AND id >= $3 AND id < $4
ORDER BY id DESC
LIMIT 1 OFFSET $5
