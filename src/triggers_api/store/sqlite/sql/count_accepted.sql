INSERT INTO accounts (organization_id, events, deliveries)
VALUES (?1, ?2, ?3)
ON CONFLICT (organization_id) DO UPDATE
SET events = events + ?2, deliveries = deliveries + ?3
