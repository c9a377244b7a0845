DELETE FROM inbox_items
WHERE cursor = ?1 AND event_id IN (SELECT event_id FROM inbox_items WHERE cursor = ?1 LIMIT ?2)
