-- outside a transaction
CREATE INDEX CONCURRENTLY IF NOT EXISTS event_states_aside_of_all ON event_states (event_id) WHERE status IN (3, 4);
