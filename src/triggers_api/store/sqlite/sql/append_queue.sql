INSERT INTO event_queue (due_at, event_id, lease_until, lease_token, attempts)
VALUES (?, ?, ?, ?, ?) /* rows */
