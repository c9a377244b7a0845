SELECT e.id, e.organization_id, e.type, e.status, e.status_at, f.reason, coalesce(f.attempts, 0)
FROM events AS e INDEXED BY events_set_aside
LEFT JOIN event_failures AS f ON f.event_id = e.id
WHERE e.status IN (3, 4) AND e.id < ?2
ORDER BY e.id DESC
LIMIT ?3
