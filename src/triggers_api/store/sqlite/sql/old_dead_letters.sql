-- In the order in which they were made, and whether they died before ?4.
SELECT d.id,
       d.status_at < ?4 AND EXISTS (
           SELECT 1 FROM events AS e WHERE e.id = d.event_id AND e.status NOT IN (0, 2)
       )
FROM deliveries AS d INDEXED BY deliveries_dead
WHERE d.status = 6 AND d.organization_id = ?1 AND d.id > ?2 AND d.id < ?3
ORDER BY d.id
LIMIT ?5
