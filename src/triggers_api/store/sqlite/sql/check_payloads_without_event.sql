SELECT p.event_id FROM event_payloads AS p
WHERE NOT EXISTS (SELECT 1 FROM events AS e WHERE e.id = p.event_id)
LIMIT ?1
