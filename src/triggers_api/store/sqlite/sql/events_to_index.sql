SELECT e.id, e.id, e.type, e.source, e.key, e.operational, p.payload
FROM carray(?2) AS c
CROSS JOIN events AS e ON e.id = c.value
JOIN event_payloads AS p ON p.event_id = e.id
WHERE e.organization_id = ?1
