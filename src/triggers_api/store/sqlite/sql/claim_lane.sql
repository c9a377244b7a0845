-- Up to ?4 of either line, the longest due first.
SELECT *
FROM (
    SELECT d.id, d.priority, d.due_at, d.status = 3
    FROM deliveries AS d INDEXED BY deliveries_lane
    WHERE d.due_at IS NOT NULL AND d.organization_id = ?1 AND d.subscription_id = ?2 AND d.priority = 0
      AND d.due_at <= ?3 AND d.lease_until <= ?3
    ORDER BY d.due_at, d.id
    LIMIT ?4
)
UNION ALL
SELECT *
FROM (
    SELECT d.id, d.priority, d.due_at, d.status = 3
    FROM deliveries AS d INDEXED BY deliveries_lane
    WHERE d.due_at IS NOT NULL AND d.organization_id = ?1 AND d.subscription_id = ?2 AND d.priority = 1
      AND d.due_at <= ?3 AND d.lease_until <= ?3
    ORDER BY d.due_at, d.id
    LIMIT ?4
)
