SELECT e.organization_id, q.event_id, q.due_at, q.lease_until, q.attempts,
       CASE WHEN e.status_at > e.id >> 20 THEN e.status_at END
FROM event_queue AS q
CROSS JOIN events AS e ON e.id = q.event_id
ORDER BY q.event_id
