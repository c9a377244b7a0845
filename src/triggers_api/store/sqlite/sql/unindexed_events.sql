SELECT e.id, e.id, e.type, e.source, e.key, e.operational, p.payload
FROM events AS e INDEXED BY events_organization
LEFT JOIN event_payloads AS p ON p.event_id = e.id
WHERE e.organization_id = ?1
  AND e.id > coalesce(?2, (SELECT position FROM search_progress WHERE organization_id = ?1), 0)
ORDER BY e.id
LIMIT ?3
