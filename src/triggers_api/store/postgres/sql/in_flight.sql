-- What is in somebody's hands was due before what waits in its line: it lies among the first ones, and no backlog
-- is counted. For how the line is asked for see claim_lane.
SELECT least($3::integer, count(*)) FROM (
    (
        SELECT lease_token FROM delivery_queue
        WHERE organization_id = $1
          AND (subscription_id, priority) >= ($2, 0) AND (subscription_id, priority) <= ($2, 0)
        ORDER BY subscription_id, priority, due_at, delivery_id
        LIMIT 2000
    )
    UNION ALL
    (
        SELECT lease_token FROM delivery_queue
        WHERE organization_id = $1
          AND (subscription_id, priority) >= ($2, 1) AND (subscription_id, priority) <= ($2, 1)
        ORDER BY subscription_id, priority, due_at, delivery_id
        LIMIT 2000
    )
) AS first
WHERE lease_token <> 0
