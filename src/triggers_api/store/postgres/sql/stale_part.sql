SELECT organization_id, number, ids
FROM search_parts
WHERE stale_at < $1
ORDER BY stale_at
LIMIT 1
