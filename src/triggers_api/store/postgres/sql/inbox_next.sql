SELECT available_at
FROM inbox_items
WHERE organization_id = $1 AND cursor = $2 AND available_at > $3
ORDER BY available_at
LIMIT 1
