SELECT k.id, k.body, u.used_at
FROM api_keys AS k
LEFT JOIN key_uses AS u ON u.key_id = k.id
WHERE k.organization_id = $1 OR ($1::uuid IS NULL AND k.organization_id IS NULL)
ORDER BY k.id DESC
