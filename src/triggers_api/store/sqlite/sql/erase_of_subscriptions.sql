DELETE FROM {table} WHERE subscription_id IN (SELECT id FROM subscriptions WHERE organization_id = ?1)
