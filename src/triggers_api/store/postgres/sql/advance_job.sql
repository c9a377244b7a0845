UPDATE jobs
SET status = $3, body = $4, position = $5, due_at = $6, lease_until = $7, lease_token = 0
WHERE organization_id = $1 AND id = $2
