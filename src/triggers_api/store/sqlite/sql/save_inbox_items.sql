INSERT INTO inbox_items (cursor, event_id, available_at, lease_token, receive_count)
VALUES (?, ?, ?, ?, ?) /* rows */
ON CONFLICT (cursor, event_id) DO UPDATE
SET available_at = excluded.available_at, lease_token = excluded.lease_token, receive_count = excluded.receive_count
