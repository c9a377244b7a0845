SELECT id FROM subscriptions
WHERE id IN carray(?1) AND organization_id = ?2 AND state < 2
  AND (expires_at IS NULL OR expires_at > ?3)
