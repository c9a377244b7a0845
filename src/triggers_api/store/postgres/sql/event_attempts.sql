SELECT d.id, d.subscription_id, a.started_at, a.number, a.status_code, a.error
FROM deliveries AS d
JOIN attempts AS a ON a.organization_id = d.organization_id AND a.delivery_id = d.id
WHERE d.organization_id = $1 AND d.event_id = $2
ORDER BY a.id
