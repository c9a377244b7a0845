DELETE FROM event_queue WHERE due_at = ?1 AND event_id = ?2
