SELECT e.id, p.payload, e.source, e.metadata
FROM events AS e
CROSS JOIN event_payloads AS p ON p.event_id = e.id
WHERE e.id IN carray(?1)
