SELECT event_id
FROM event_queue
WHERE lease_token = ?1 AND lease_until > ?2
  AND (due_at, event_id) IN (VALUES (?, ?) /* rows */)
