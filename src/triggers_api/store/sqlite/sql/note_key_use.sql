INSERT INTO key_uses (key_id, used_at)
SELECT ?1, ?2 WHERE EXISTS (SELECT 1 FROM api_keys WHERE id = ?1)
ON CONFLICT (key_id) DO UPDATE SET used_at = max(used_at, ?2)
