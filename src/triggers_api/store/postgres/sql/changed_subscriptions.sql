SELECT id, organization_id, body, secrets, from_organization, deleted_at FROM subscriptions WHERE version > $1
