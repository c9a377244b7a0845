SELECT organization_id, id, status <> 0, body
FROM jobs
WHERE (organization_id, id) > ($1, $2)
ORDER BY organization_id, id
LIMIT $3
