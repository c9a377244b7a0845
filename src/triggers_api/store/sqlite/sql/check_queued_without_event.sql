SELECT q.event_id FROM event_queue AS q
LEFT JOIN events AS e ON e.id = q.event_id
WHERE e.id IS NULL OR e.status NOT IN (0, 2)
LIMIT ?1
