INSERT INTO notices (organization_id, noticed_at, body) VALUES (?1, ?2, ?3)
