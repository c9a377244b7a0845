-- Of $4 lines after one ($1 to $3) those whose first delivery waits for its turn ($5), and the last line that
-- was looked at. One seek for each line that has anything waiting.
WITH RECURSIVE walk AS (
    (
        SELECT q.organization_id, q.subscription_id, q.order_key, q.due_at, 1 AS step
        FROM delivery_queue AS q
        WHERE q.order_key IS NOT NULL
          AND (q.organization_id, q.subscription_id, q.order_key) > ($1::uuid, $2::uuid, $3::text)
        ORDER BY q.organization_id, q.subscription_id, q.order_key, q.sequence
        LIMIT 1
    )
    UNION ALL
    SELECT following.*, w.step + 1
    FROM walk AS w
    CROSS JOIN LATERAL (
        SELECT q.organization_id, q.subscription_id, q.order_key, q.due_at
        FROM delivery_queue AS q
        WHERE q.order_key IS NOT NULL
          AND (q.organization_id, q.subscription_id, q.order_key)
              > (w.organization_id, w.subscription_id, w.order_key)
        ORDER BY q.organization_id, q.subscription_id, q.order_key, q.sequence
        LIMIT 1
    ) AS following
    WHERE w.step < $4
)
SELECT organization_id, subscription_id, order_key, due_at = $5, step
FROM walk
WHERE due_at = $5 OR step = (SELECT max(step) FROM walk)
ORDER BY step
