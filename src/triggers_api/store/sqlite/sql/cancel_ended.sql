-- What waits for subscriptions that have ended (?3 = 0) or for this one (?3 = its number).
UPDATE deliveries
SET status = 8, status_at = ?1, due_at = NULL, lease_until = ?1, reason = ?2
WHERE id IN (
    SELECT d.id
    FROM subscriptions AS s
    CROSS JOIN deliveries AS d INDEXED BY deliveries_lane 
         ON d.organization_id = s.organization_id AND d.subscription_id = s.id
    WHERE s.state = 2 AND (?3 = 0 OR s.id = ?3) AND d.due_at IS NOT NULL
    LIMIT ?4
)
RETURNING subscription_id, order_key
