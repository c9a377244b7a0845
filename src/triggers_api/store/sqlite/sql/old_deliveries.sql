-- In the order in which they were made, and whether they ended before ?4. Of an event that is queued again although
-- it was routed they say who has it already.
SELECT d.id,
       d.status IN (5, 7, 8) AND d.status_at < ?4 AND EXISTS (
           SELECT 1 FROM events AS e WHERE e.id = d.event_id AND e.status NOT IN (0, 2)
       )
FROM deliveries AS d INDEXED BY deliveries_organization
WHERE d.organization_id = ?1 AND d.id > ?2 AND d.id < ?3
ORDER BY d.id
LIMIT ?5
