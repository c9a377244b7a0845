SELECT id, organization_id, secrets, deleted_at FROM subscriptions
