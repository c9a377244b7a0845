DELETE FROM event_queue
WHERE (due_at, event_id) IN (VALUES (?, ?) /* rows */)
