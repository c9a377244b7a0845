UPDATE subscriptions SET state = 2 WHERE organization_id = $1 AND id = $2
