SELECT e.organization_id, count(*)
FROM event_queue AS q
CROSS JOIN events AS e ON e.id = q.event_id
GROUP BY e.organization_id
