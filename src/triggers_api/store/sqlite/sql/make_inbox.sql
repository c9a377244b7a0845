INSERT INTO inboxes (organization_id, name, cursor, types, position, created_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
