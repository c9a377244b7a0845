SELECT e.organization_id, q.event_id, q.due_at, q.lease_until, q.attempts
FROM event_queue AS q
CROSS JOIN events AS e ON e.id = q.event_id
ORDER BY q.event_id
