-- What is not acknowledged of what is up to a place.
SELECT i.event_id, e.type, e.status, e.deliver_at, i.available_at, i.lease_token, length(p.payload)
FROM inbox_items AS i
CROSS JOIN events AS e ON e.id = i.event_id
LEFT JOIN event_payloads AS p ON p.event_id = i.event_id
WHERE i.cursor = ?1 AND i.event_id > ?2 AND i.event_id <= ?3 AND i.available_at IS NOT NULL
ORDER BY i.event_id
LIMIT ?4
