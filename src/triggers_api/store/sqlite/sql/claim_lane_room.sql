SELECT CASE WHEN state = 0 AND (expires_at IS NULL OR expires_at > ?2)
            THEN coalesce(max_concurrency, ?3) ELSE 0 END
FROM subscriptions
WHERE id = ?1
