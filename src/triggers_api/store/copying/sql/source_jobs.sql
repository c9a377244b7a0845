SELECT organization_id, id, status, body, position, due_at FROM jobs
