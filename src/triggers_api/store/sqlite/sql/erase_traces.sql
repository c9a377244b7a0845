DELETE FROM event_traces WHERE event_id IN carray(?1)
