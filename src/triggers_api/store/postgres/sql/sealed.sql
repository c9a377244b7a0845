SELECT organization_id, id, secrets, deleted_at FROM subscriptions
