-- The last column is how many the subscription may have at once: 0 when it may have none.
SELECT d.id, d.status, d.subscription_id,
       CASE WHEN s.state = 0 AND (s.expires_at IS NULL OR s.expires_at > ?1)
            THEN coalesce(s.max_concurrency, 1000000) ELSE 0 END
FROM deliveries AS d INDEXED BY deliveries_due
CROSS JOIN subscriptions AS s ON s.id = d.subscription_id
WHERE d.due_at <= ?1 AND d.lease_until <= ?1
ORDER BY d.due_at, d.id
LIMIT ?2
