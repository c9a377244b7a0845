SELECT body FROM jobs
WHERE organization_id = $1 AND id = $2 AND status = 0 AND lease_token = $3 AND lease_until > $4
FOR UPDATE
