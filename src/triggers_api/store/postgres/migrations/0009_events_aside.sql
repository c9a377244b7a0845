-- outside a transaction
-- A way to the events that were kept aside: of one organization, and of all.
CREATE INDEX CONCURRENTLY IF NOT EXISTS event_states_aside ON event_states (organization_id, event_id) WHERE status IN (3, 4);
