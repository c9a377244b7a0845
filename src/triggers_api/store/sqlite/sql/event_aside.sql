SELECT e.id, e.organization_id, e.type, e.status, e.status_at, f.reason, coalesce(f.attempts, 0)
FROM events AS e
LEFT JOIN event_failures AS f ON f.event_id = e.id
WHERE e.id = ?1 AND e.status IN (3, 4)
