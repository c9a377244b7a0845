INSERT INTO jobs (organization_id, id, status, body, position, due_at) VALUES ($1, $2, $3, $4, $5, $6)
