SELECT id, organization_id
FROM search_parts INDEXED BY search_parts_stale
WHERE stale_at < ?1
ORDER BY stale_at
LIMIT 1
