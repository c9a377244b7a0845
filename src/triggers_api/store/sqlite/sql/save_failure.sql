INSERT INTO event_failures (event_id, reason, attempts)
VALUES (?1, ?2, ?3)
ON CONFLICT (event_id) DO UPDATE SET reason = ?2, attempts = ?3
