-- Of the $2 deliveries of either line that fall due first: by subscription how many, due now, in somebody's
-- hands, and when the first of them is due; those with the most first, and how many were counted.
WITH front AS MATERIALIZED (
    (
        SELECT organization_id, subscription_id, due_at, lease_token
        FROM delivery_queue
        WHERE priority = 0
        ORDER BY due_at, delivery_id
        LIMIT $2
    )
    UNION ALL
    (
        SELECT organization_id, subscription_id, due_at, lease_token
        FROM delivery_queue
        WHERE priority = 1
        ORDER BY due_at, delivery_id
        LIMIT $2
    )
)
SELECT organization_id, subscription_id, count(*) AS waiting, count(*) FILTER (WHERE due_at <= $1),
       count(*) FILTER (WHERE lease_token <> 0), min(due_at), sum(count(*)) OVER ()
FROM front
GROUP BY organization_id, subscription_id
ORDER BY waiting DESC, subscription_id
LIMIT $3
