-- Single events of the queue, as queue_ahead tells of them.
SELECT q.due_at, q.event_id, q.attempts, q.lease_token, e.organization_id, e.type, e.operational, e.key, e.status_at,
       e.organization_id IN carray(?2), q.lease_until <= ?1
FROM (VALUES (?, ?) /* rows */) AS v
CROSS JOIN event_queue AS q ON q.due_at = v.column1 AND q.event_id = v.column2
CROSS JOIN events AS e ON e.id = q.event_id
