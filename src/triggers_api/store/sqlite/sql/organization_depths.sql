SELECT e.organization_id, count(*), min(q.due_at)
FROM event_queue AS q
CROSS JOIN events AS e ON e.id = q.event_id
GROUP BY e.organization_id
