-- In the order of the numbers given.
SELECT e.id, e.type, p.payload, e.dedup_id, e.source, e.key, e.metadata, e.status, e.occurred_at,
       e.deliver_at, e.operational
FROM carray(?2) AS c
CROSS JOIN events AS e ON e.id = c.value
LEFT JOIN event_payloads AS p ON p.event_id = e.id
WHERE e.organization_id = ?1 AND e.status <> 6
