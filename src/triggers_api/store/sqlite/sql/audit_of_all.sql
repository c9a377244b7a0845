SELECT id, organization_id, action, actor, resource_type, resource_id, body
FROM audit_entries
WHERE id > :after AND id < :before
ORDER BY id DESC
LIMIT :limit
