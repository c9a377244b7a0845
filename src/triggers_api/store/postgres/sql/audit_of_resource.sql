SELECT id, organization_id, action, actor, resource_type, resource_id, body
FROM audit_entries
WHERE organization_id = $4 AND resource_id = $5 AND id > $1 AND id < $2
ORDER BY id DESC
LIMIT $3
