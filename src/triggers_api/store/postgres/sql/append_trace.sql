INSERT INTO event_traces (event_id, trace) SELECT * FROM unnest($1::uuid[], $2::bytea[])
