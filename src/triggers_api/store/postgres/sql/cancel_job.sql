UPDATE jobs SET status = 2, body = $3, lease_until = $4, lease_token = 0
WHERE organization_id = $1 AND id = $2
