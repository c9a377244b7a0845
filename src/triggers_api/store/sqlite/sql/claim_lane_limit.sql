-- How many the subscription may have at once: 0 when it may have none.
SELECT CASE WHEN state = 0 AND (expires_at IS NULL OR expires_at > ?2)
            THEN coalesce(max_concurrency, 1000000) ELSE 0 END
FROM subscriptions
WHERE id = ?1
