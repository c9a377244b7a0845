SELECT d.id, d.event_id, e.type, d.subscription_id, d.status, d.reason, d.origin, d.attempt_count,
       d.due_at, d.status_at, d.sequence
FROM deliveries AS d INDEXED BY deliveries_once
CROSS JOIN events AS e ON e.id = d.event_id
WHERE d.event_id = ?1
ORDER BY d.id
