SELECT count(*) FROM (SELECT 1 FROM event_queue LIMIT ?1)
