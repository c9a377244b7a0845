SELECT d.id, d.subscription_id, a.started_at, a.number, a.status_code, a.error
FROM deliveries AS d INDEXED BY deliveries_once
CROSS JOIN attempts AS a ON a.delivery_id = d.id
WHERE d.event_id = ?1
ORDER BY a.id
