SELECT q.due_at, q.event_id, q.attempts, q.lease_token, e.organization_id, e.type, e.operational, e.key, e.status_at
FROM event_queue AS q
CROSS JOIN events AS e ON e.id = q.event_id
WHERE q.due_at <= ?1 AND q.lease_until <= ?1
ORDER BY q.due_at, q.event_id
LIMIT ?2
