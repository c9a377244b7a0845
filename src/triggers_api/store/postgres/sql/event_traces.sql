SELECT event_id, trace FROM event_traces WHERE event_id = ANY($1::uuid[])
