UPDATE subscriptions SET secrets = $4
WHERE organization_id = $1 AND id = $2 AND secrets = $3
RETURNING 1
