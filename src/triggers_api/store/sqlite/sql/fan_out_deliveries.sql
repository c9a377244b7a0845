-- One delivery per event and subscription, whatever is run again after a crash. A row with the number 0
-- is none.
INSERT INTO deliveries (
    id, organization_id, event_id, subscription_id, origin, origin_id, status, status_at,
    attempt_count, attempt_base, due_at, lease_until, lease_token, order_key,
    sequence
)
SELECT *
FROM (VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) /* rows */)
WHERE column1 <> 0
ON CONFLICT (event_id, subscription_id, origin_id) DO NOTHING
