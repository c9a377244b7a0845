SELECT e.id, p.payload, e.source, e.key, e.metadata
FROM events AS e
CROSS JOIN event_payloads AS p ON p.event_id = e.id
WHERE e.id IN carray(?1) AND e.organization_id = ?2 AND e.status <> 6
