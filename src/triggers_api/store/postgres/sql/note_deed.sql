INSERT INTO audit_entries (organization_id, id, action, actor, resource_type, resource_id, body)
VALUES ($1, $2, $3, $4, $5, $6, $7)
