INSERT INTO accounts AS a (organization_id, slot, events, deliveries)
VALUES ($1, 0, $2, $3)
ON CONFLICT (organization_id, slot) DO UPDATE
SET events = a.events + excluded.events, deliveries = a.deliveries + excluded.deliveries
