UPDATE event_payloads SET payload = ?2 WHERE event_id = ?1
