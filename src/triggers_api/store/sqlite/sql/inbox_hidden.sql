-- Up to a place, what is scheduled, and what is kept aside.
SELECT e.id, e.type, e.status, e.deliver_at
FROM event_queue AS q
CROSS JOIN events AS e ON e.id = q.event_id
WHERE q.due_at > ?3 AND e.organization_id = ?1 AND e.id <= ?2 AND e.operational = 0
  AND e.status = 2 AND e.deliver_at > ?3
UNION ALL
SELECT e.id, e.type, e.status, e.deliver_at
FROM events AS e INDEXED BY events_aside
WHERE e.organization_id = ?1 AND e.id <= ?2 AND e.operational = 0 AND e.status IN (3, 4, 5) AND e.status = 4
