-- One process gives out the ids and one thread stores them in that order.
SELECT e.id, e.type, p.payload, e.dedup_id, e.source, e.key, e.metadata, e.status, e.occurred_at,
       e.deliver_at, e.operational
FROM events AS e INDEXED BY events_organization
LEFT JOIN event_payloads AS p ON p.event_id = e.id
WHERE e.organization_id = ?1 AND e.id > ?2 AND e.status <> 6 AND e.operational = 0
ORDER BY e.id
LIMIT ?3
