SELECT f.event_id FROM event_failures AS f
WHERE NOT EXISTS (SELECT 1 FROM events AS e WHERE e.id = f.event_id)
LIMIT ?1
