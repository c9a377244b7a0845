SELECT id, organization_id, event_id, subscription_id, origin, origin_id, status, status_at, attempt_count,
       attempt_base, reason, sequence
FROM deliveries
WHERE id > ?1
ORDER BY id
