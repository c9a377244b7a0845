SELECT organization_id, name, cursor, types, position, created_at FROM inboxes
