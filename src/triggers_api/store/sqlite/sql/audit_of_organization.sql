SELECT id, organization_id, action, actor, resource_type, resource_id, body
FROM audit_entries
WHERE organization_id = :organization_id AND id > :after AND id < :before
ORDER BY id DESC
LIMIT :limit
