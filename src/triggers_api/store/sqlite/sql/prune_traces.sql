DELETE FROM event_traces
WHERE event_id IN (SELECT event_id FROM event_traces WHERE event_id < ?1 ORDER BY event_id LIMIT ?2)
