INSERT INTO erasures (organization_id, requested_at, events, deliveries)
VALUES ($1, $2, 0, 0)
ON CONFLICT (organization_id) DO NOTHING
