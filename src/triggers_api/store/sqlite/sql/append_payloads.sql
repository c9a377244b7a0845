INSERT INTO event_payloads (event_id, payload)
VALUES (?, ?) /* rows */
