-- Up to $4 lanes behind the one of organization $2 and subscription $3, most and probe as in claim_due. Of an
-- organization in $5 only the first one is found. One that is not active is followed by the next subscription
-- that is, so that none of those in between is looked at.
WITH RECURSIVE walk AS (
    SELECT 0 AS step, $2::uuid AS organization_id, $3::uuid AS subscription_id, true AS active
    UNION ALL
    SELECT w.step + 1, following.organization_id, following.subscription_id,
           (
               SELECT s.state = 0
               FROM subscriptions AS s
               WHERE s.organization_id = following.organization_id AND s.id = following.subscription_id
               LIMIT 1
           )
    FROM (
        SELECT walk.*, walk.organization_id = ANY ($5::uuid[]) AS is_full FROM walk
    ) AS w
    CROSS JOIN LATERAL (
        (
            SELECT q.organization_id, q.subscription_id
            FROM delivery_queue AS q
            WHERE (w.active OR w.is_full)
              AND (q.organization_id, q.subscription_id) > (
                  w.organization_id,
                  CASE WHEN w.is_full
                       THEN 'ffffffff-ffff-ffff-ffff-ffffffffffff' ELSE w.subscription_id END
              )
            ORDER BY q.organization_id, q.subscription_id, q.priority, q.due_at, q.delivery_id
            LIMIT 1
        )
        UNION ALL
        (
            SELECT s.organization_id, s.id
            FROM subscriptions AS s
            WHERE NOT (w.active OR w.is_full) AND s.state = 0
              AND (s.organization_id, s.id) > (w.organization_id, w.subscription_id)
            ORDER BY s.organization_id, s.id
            LIMIT 1
        )
    ) AS following
    WHERE w.step < $4
)
SELECT w.organization_id, w.subscription_id,
       CASE WHEN s.state <> 0 OR s.expires_at <= $1 THEN 0
            WHEN h.opened > 0 THEN (h.open_until <= $1)::integer
            ELSE coalesce(s.max_concurrency, 1000000) END AS most,
       coalesce(h.opened > 0, false) AS probe, s.version
FROM walk AS w
CROSS JOIN LATERAL (
    SELECT s.version, s.state, s.expires_at, s.max_concurrency
    FROM subscriptions AS s
    WHERE s.organization_id = w.organization_id AND s.id = w.subscription_id
    LIMIT 1
) AS s
LEFT JOIN LATERAL (
    SELECT h.opened, h.open_until
    FROM endpoint_health AS h
    WHERE h.organization_id = w.organization_id AND h.subscription_id = w.subscription_id
    LIMIT 1
) AS h ON true
WHERE w.step > 0
ORDER BY w.step
