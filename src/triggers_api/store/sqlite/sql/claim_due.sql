-- The front of a line (?3), of what became due after a moment (?4). most: how many the subscription may have
-- at once, 0 when it may have none now.
SELECT d.id, d.organization_id, d.subscription_id,
       CASE WHEN s.state <> 0 OR s.expires_at <= ?1 THEN 0
            WHEN h.opened > 0 THEN h.open_until <= ?1
            ELSE coalesce(s.max_concurrency, 1000000) END AS most,
       coalesce(h.opened > 0, 0) AS probe,
       d.priority, d.due_at, d.status = 3
FROM deliveries AS d INDEXED BY deliveries_due
CROSS JOIN subscriptions AS s ON s.id = d.subscription_id
LEFT JOIN endpoint_health AS h ON h.subscription_id = d.subscription_id
WHERE d.due_at IS NOT NULL AND d.priority = ?3 AND d.due_at > ?4 AND d.due_at <= ?1
  AND d.lease_until <= ?1
ORDER BY d.due_at, d.id
LIMIT ?2
