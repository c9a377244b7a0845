SELECT e.id, e.organization_id, e.type, e.status, e.status_at, f.reason, coalesce(f.attempts, 0)
FROM (
    SELECT id FROM events INDEXED BY events_aside
    WHERE organization_id = ?1 AND status IN (3, 4, 5) AND status = 3 AND id < ?2
    UNION ALL
    SELECT id FROM events INDEXED BY events_aside
    WHERE organization_id = ?1 AND status IN (3, 4, 5) AND status = 4 AND id < ?2
    ORDER BY id DESC
    LIMIT ?3
) AS found
CROSS JOIN events AS e ON e.id = found.id
LEFT JOIN event_failures AS f ON f.event_id = e.id
ORDER BY e.id DESC
