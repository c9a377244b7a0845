SELECT organization_id, body, secrets, from_organization FROM subscriptions WHERE id = ?1
