INSERT INTO jobs (id, organization_id, status, body, position, due_at, lease_until, lease_token)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6, ?7)
