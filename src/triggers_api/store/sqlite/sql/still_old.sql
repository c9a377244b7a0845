-- Which of these are what old_events said of them a moment ago: a delivery may have been opened again.
SELECT e.id
FROM events AS e
WHERE e.id IN carray(?1) AND e.status IN (1, 5, 6) AND e.status_at < ?2 AND NOT EXISTS (
    SELECT 1
    FROM deliveries AS d INDEXED BY deliveries_once
    WHERE d.event_id = e.id
      AND (d.due_at IS NOT NULL OR d.status_at >= ?2 OR d.status = 6 AND d.status_at >= ?3)
)
