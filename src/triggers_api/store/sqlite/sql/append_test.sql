-- Operational: none of a producer's events, and in no subscription's log.
INSERT INTO events (id, organization_id, status, status_at, type, operational)
VALUES (?1, ?2, 1, ?3, ?4, 1)
