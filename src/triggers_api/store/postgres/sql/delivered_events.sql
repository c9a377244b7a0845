SELECT DISTINCT d.event_id
FROM deliveries AS d
WHERE d.organization_id = $1 AND d.event_id = ANY ($2::uuid[]) AND d.subscription_id = $3
