-- Whether the subscription has ended.
SELECT state = 2 OR (expires_at IS NOT NULL AND expires_at <= ?3)
FROM subscriptions
WHERE id = ?1 AND organization_id = ?2 AND deleted_at IS NULL
