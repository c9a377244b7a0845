DELETE FROM event_payloads WHERE event_id = ?1
