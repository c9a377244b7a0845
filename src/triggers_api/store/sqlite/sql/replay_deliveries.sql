-- One delivery per event, subscription and job.
INSERT INTO deliveries (
    id, organization_id, event_id, subscription_id, origin, origin_id, status, status_at,
    attempt_count, attempt_base, due_at, lease_until, lease_token, priority
)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) /* rows */
ON CONFLICT (event_id, subscription_id, origin_id) DO NOTHING
