SELECT organization_id, id, action, actor, resource_type, resource_id, body
FROM audit_entries
ORDER BY id
