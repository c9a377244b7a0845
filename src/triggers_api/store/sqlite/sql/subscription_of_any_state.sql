SELECT body FROM subscriptions WHERE id = ?1 AND organization_id = ?2
