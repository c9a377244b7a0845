UPDATE event_queue
SET lease_token = ?1, lease_until = ?2, attempts = attempts + 1
WHERE (due_at, event_id) IN (VALUES (?, ?) /* rows */)
