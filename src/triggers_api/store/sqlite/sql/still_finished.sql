-- Which of these are what they were a moment ago: one may have been opened again, and be dead by now, and its event
-- may have been queued again.
SELECT d.id
FROM deliveries AS d
WHERE d.id IN carray(?1) AND d.status IN (5, 6, 7, 8) AND (d.status = 6) = ?3 AND d.status_at < ?2 AND EXISTS (
    SELECT 1 FROM events AS e WHERE e.id = d.event_id AND e.status NOT IN (0, 2)
)
