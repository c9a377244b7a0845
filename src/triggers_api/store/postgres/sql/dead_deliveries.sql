SELECT d.id, d.event_id, e.type, d.subscription_id, d.status, d.reason, d.origin, d.attempt_count, d.status_at,
       q.due_at, coalesce(q.lease_token <> 0, false)
FROM dead_letters AS l
JOIN deliveries AS d ON d.organization_id = l.organization_id AND d.id = l.delivery_id
JOIN events AS e ON e.organization_id = d.organization_id AND e.id = d.event_id
LEFT JOIN delivery_queue AS q ON q.organization_id = d.organization_id AND q.delivery_id = d.id
WHERE l.organization_id = $1 AND l.delivery_id < $2 AND l.delivery_id >= $3 AND l.delivery_id < $4
ORDER BY l.delivery_id DESC
LIMIT $5
