SELECT d.id FROM deliveries AS d
WHERE NOT EXISTS (SELECT 1 FROM events AS e WHERE e.id = d.event_id)
LIMIT ?1
