SELECT d.id, d.event_id, e.type, d.subscription_id, d.status, d.reason, d.origin, d.attempt_count,
       d.due_at, d.status_at, d.sequence
FROM deliveries AS d
CROSS JOIN events AS e ON e.id = d.event_id
WHERE d.id = ?1 AND d.organization_id = ?2
