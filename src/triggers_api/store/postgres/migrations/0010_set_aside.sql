-- A way to the events of all organizations that were kept aside, each of which has its reason.
CREATE INDEX event_states_set_aside ON event_states (event_id)
    WHERE status IN (3, 4) AND reason IS NOT NULL;
