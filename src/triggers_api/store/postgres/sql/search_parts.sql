SELECT number, first_id, last_id, bits, whole
FROM search_parts
WHERE organization_id = $1 AND last_id > $2 AND first_id < $3 AND number + 0 <= $4
ORDER BY last_id DESC
LIMIT $5
