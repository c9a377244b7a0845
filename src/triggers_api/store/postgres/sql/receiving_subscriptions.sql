SELECT id FROM subscriptions
WHERE organization_id = $1 AND id = ANY ($2::uuid[]) AND state < 2
  AND (expires_at IS NULL OR expires_at > $3)
