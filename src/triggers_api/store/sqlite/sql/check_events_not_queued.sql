SELECT e.id FROM events AS e
WHERE e.status IN (0, 2) AND e.id NOT IN (SELECT event_id FROM event_queue)
LIMIT ?1
