-- A row with the number 0 is none.
INSERT INTO event_queue (due_at, event_id, lease_until, lease_token, attempts)
SELECT *
FROM (VALUES (?, ?, ?, ?, ?) /* rows */)
WHERE column2 <> 0
