INSERT INTO inbox_remains (organization_id, cursor) VALUES ($1, $2)
