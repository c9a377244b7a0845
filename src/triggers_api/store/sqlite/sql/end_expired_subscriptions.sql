UPDATE subscriptions SET state = 2
WHERE state < 2 AND deleted_at IS NULL AND expires_at IS NOT NULL AND expires_at <= ?1
RETURNING organization_id, id, body
