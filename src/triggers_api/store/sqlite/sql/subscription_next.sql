-- When the first of what waits for a subscription, in either line, is or was due.
SELECT min(due_at)
FROM (
    SELECT *
    FROM (
        SELECT d.due_at
        FROM deliveries AS d INDEXED BY deliveries_lane
        WHERE d.due_at IS NOT NULL AND d.organization_id = ?1 AND d.subscription_id = ?2
          AND d.priority = 0 AND d.due_at < ?3 AND d.status IN (2, 4)
        ORDER BY d.due_at
        LIMIT 1
    )
    UNION ALL
    SELECT *
    FROM (
        SELECT d.due_at
        FROM deliveries AS d INDEXED BY deliveries_lane
        WHERE d.due_at IS NOT NULL AND d.organization_id = ?1 AND d.subscription_id = ?2
          AND d.priority = 1 AND d.due_at < ?3 AND d.status IN (2, 4)
        ORDER BY d.due_at
        LIMIT 1
    )
)
