SELECT id, body, deleted_at FROM organizations
