-- What waits to be handed out again, the longest first.
SELECT i.available_at, i.event_id, i.receive_count, e.type, e.status, e.deliver_at, length(p.payload)
FROM inbox_items AS i INDEXED BY inbox_items_available
LEFT JOIN events AS e ON e.id = i.event_id
LEFT JOIN event_payloads AS p ON p.event_id = i.event_id
WHERE i.cursor = ?1 AND i.available_at <= ?2 AND (i.available_at, i.event_id) > (?3, ?4)
ORDER BY i.available_at, i.event_id
LIMIT ?5
