DELETE FROM event_failures WHERE event_id = ?1
