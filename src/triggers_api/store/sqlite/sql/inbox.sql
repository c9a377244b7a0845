SELECT name, cursor, types, position, created_at FROM inboxes WHERE organization_id = ?1 AND name = ?2
