SELECT e.id, e.type, e.status, e.deliver_at, p.payload
FROM events AS e
LEFT JOIN event_payloads AS p ON p.event_id = e.id
WHERE e.id = ?1
