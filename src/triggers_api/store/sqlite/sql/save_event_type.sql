INSERT INTO event_types (organization_id, name, body, version)
VALUES (?1, ?2, ?3, ?4)
ON CONFLICT (organization_id, name) DO UPDATE SET body = ?3, version = ?4
