SELECT started_at, writer, body
FROM rollups
WHERE organization_id = $1 AND subscription_id = '00000000-0000-0000-0000-000000000000' AND step_s = $2
  AND started_at >= $3 AND started_at < $4
ORDER BY started_at
