UPDATE subscriptions SET state = 2, deleted_at = ?3, version = ?4
WHERE id = ?1 AND organization_id = ?2 AND deleted_at IS NULL
RETURNING id
