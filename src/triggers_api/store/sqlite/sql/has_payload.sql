SELECT 1 FROM event_payloads WHERE event_id = ?1
