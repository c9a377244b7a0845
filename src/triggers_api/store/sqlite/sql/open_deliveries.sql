-- As deliveries, of what is not finished: for when that is little beside all there is. The events of those that
-- are shown are looked for, and no others.
SELECT d.id, d.event_id, e.type, d.subscription_id, d.status, d.reason, d.origin, d.attempt_count,
       d.due_at, d.status_at, d.sequence
FROM (
    SELECT d.id
    FROM deliveries AS d INDEXED BY deliveries_lane
    WHERE d.due_at IS NOT NULL AND d.organization_id = :organization_id
      AND (:subscription_id IS NULL OR d.subscription_id = :subscription_id)
      AND d.id < :before AND d.id >= :since AND d.id < :until
      AND d.status = :status
    ORDER BY d.id DESC
    LIMIT :limit
) AS o
CROSS JOIN deliveries AS d ON d.id = o.id
CROSS JOIN events AS e ON e.id = d.event_id
ORDER BY d.id DESC
