-- Which trace an event belongs to, of those that are traced: model/trace.py.
CREATE TABLE event_traces (
    event_id INTEGER PRIMARY KEY,
    trace    BLOB    NOT NULL
) STRICT;
