SELECT number, whole, ids
FROM search_parts
WHERE organization_id = $1 AND last_id >= $2 AND first_id <= $2
ORDER BY number
FOR UPDATE
