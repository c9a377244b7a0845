-- Up to ?4 lanes behind the one of organization ?2 and subscription ?3, most and probe as in claim_due.
-- Of an organization in ?5 only the first one is found. One that is not active is followed by the next
-- subscription that is, so that none of those in between is looked at.
WITH RECURSIVE walk (step, organization_id, subscription_id, active) AS (
    SELECT 0, ?2, ?3, 1
    UNION ALL
    SELECT w.step + 1, s.organization_id, s.id, s.state = 0
    FROM walk AS w
    CROSS JOIN subscriptions AS s ON s.id = CASE
        WHEN w.organization_id IN carray(?5) THEN (
            SELECT d.subscription_id
            FROM deliveries AS d INDEXED BY deliveries_lane
            WHERE d.due_at IS NOT NULL AND d.organization_id > w.organization_id
            ORDER BY d.organization_id, d.subscription_id
            LIMIT 1
        )
        -- Two seeks: compared as pairs, all that waits for the subscription would be read.
        WHEN w.active THEN coalesce(
            (
                SELECT d.subscription_id
                FROM deliveries AS d INDEXED BY deliveries_lane
                WHERE d.due_at IS NOT NULL AND d.organization_id = w.organization_id
                  AND d.subscription_id > w.subscription_id
                ORDER BY d.subscription_id
                LIMIT 1
            ),
            (
                SELECT d.subscription_id
                FROM deliveries AS d INDEXED BY deliveries_lane
                WHERE d.due_at IS NOT NULL AND d.organization_id > w.organization_id
                ORDER BY d.organization_id, d.subscription_id
                LIMIT 1
            )
        )
        ELSE coalesce(
            (
                SELECT n.id
                FROM subscriptions AS n INDEXED BY subscriptions_active
                WHERE n.state = 0 AND n.organization_id = w.organization_id AND n.id > w.subscription_id
                ORDER BY n.id
                LIMIT 1
            ),
            (
                SELECT n.id
                FROM subscriptions AS n INDEXED BY subscriptions_active
                WHERE n.state = 0 AND n.organization_id > w.organization_id
                ORDER BY n.organization_id, n.id
                LIMIT 1
            )
        )
    END
    WHERE w.step < ?4
)
SELECT w.organization_id, w.subscription_id,
       CASE WHEN s.state <> 0 OR s.expires_at <= ?1 THEN 0
            WHEN h.opened > 0 THEN h.open_until <= ?1
            ELSE coalesce(s.max_concurrency, 1000000) END AS most,
       coalesce(h.opened > 0, 0) AS probe
FROM walk AS w
CROSS JOIN subscriptions AS s ON s.id = w.subscription_id
LEFT JOIN endpoint_health AS h ON h.subscription_id = w.subscription_id
WHERE w.step > 0
ORDER BY w.step
