-- The log behind a place, with what the inbox has a row for.
SELECT e.id, e.type, e.status, e.deliver_at, e.operational, i.event_id IS NOT NULL, i.available_at,
       length(p.payload), i.lease_token
FROM events AS e INDEXED BY events_organization
LEFT JOIN inbox_items AS i ON i.cursor = ?1 AND i.event_id = e.id
LEFT JOIN event_payloads AS p ON p.event_id = e.id
WHERE e.organization_id = ?2 AND e.id > ?3
ORDER BY e.id
LIMIT ?4
