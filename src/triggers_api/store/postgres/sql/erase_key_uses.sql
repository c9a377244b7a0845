DELETE FROM key_uses WHERE key_id IN (SELECT id FROM api_keys WHERE organization_id = $1)
