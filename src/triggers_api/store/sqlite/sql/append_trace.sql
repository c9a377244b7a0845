INSERT INTO event_traces (event_id, trace) VALUES (?, ?)
