-- What was made to test a subscription is nobody else's, as if all had it.
SELECT e.id, e.type, e.status = 1, e.operational,
       (?6 IS NOT NULL AND EXISTS (
           SELECT 1 FROM deliveries AS d INDEXED BY deliveries_once
           WHERE d.event_id = e.id AND d.subscription_id = ?6
       )) OR (e.operational = 1 AND EXISTS (
           SELECT 1 FROM deliveries AS d INDEXED BY deliveries_once
           WHERE d.event_id = e.id AND d.origin = 2
       ))
FROM events AS e INDEXED BY events_organization
WHERE e.organization_id = ?1 AND e.id > ?2 AND e.id >= ?3 AND e.id < ?4
ORDER BY e.id
LIMIT ?5
