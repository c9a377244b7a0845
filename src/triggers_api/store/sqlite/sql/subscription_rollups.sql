SELECT subscription_id, started_at, writer, body
FROM rollups
WHERE organization_id = ?1 AND subscription_id IN carray(?2) AND subscription_id <> 0 AND step_s = ?3
  AND started_at >= ?4
ORDER BY subscription_id, started_at
