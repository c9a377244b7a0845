-- In the order of their receipt, and whether all that was to happen to them happened before ?4: each was decided,
-- and what it was delivered by is finished. What is dead is kept from ?6 on.
SELECT e.id,
       e.status IN (1, 5, 6) AND e.status_at < ?4 AND NOT EXISTS (
           SELECT 1
           FROM deliveries AS d INDEXED BY deliveries_once
           WHERE d.event_id = e.id
             AND (d.due_at IS NOT NULL OR d.status_at >= ?4 OR d.status = 6 AND d.status_at >= ?6)
       )
FROM events AS e INDEXED BY events_organization
WHERE e.organization_id = ?1 AND e.id > ?2 AND e.id < ?3
ORDER BY e.id
LIMIT ?5
