SELECT e.id, e.type, p.payload, e.dedup_id, e.source, e.key, e.metadata, e.status, e.occurred_at,
       e.deliver_at, e.operational, e.status_at, f.reason
FROM events AS e
LEFT JOIN event_payloads AS p ON p.event_id = e.id
LEFT JOIN event_failures AS f ON f.event_id = e.id
WHERE e.id = ?1 AND e.organization_id = ?2 AND e.status <> 6
