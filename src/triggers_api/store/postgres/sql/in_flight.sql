-- What is in somebody's hands was due before what waits in its line: it is found first, and no backlog is
-- counted. For how the line is asked for see claim_lane.
SELECT least($3, (
    SELECT count(*) FROM (
        SELECT FROM delivery_queue
        WHERE organization_id = $1 AND subscription_id = $2
          AND (subscription_id, priority) >= ($2, 0) AND (subscription_id, priority) <= ($2, 0)
          AND lease_token <> 0
        ORDER BY priority, due_at, delivery_id
        LIMIT $3
    ) AS first
) + (
    SELECT count(*) FROM (
        SELECT FROM delivery_queue
        WHERE organization_id = $1 AND subscription_id = $2
          AND (subscription_id, priority) >= ($2, 1) AND (subscription_id, priority) <= ($2, 1)
          AND lease_token <> 0
        ORDER BY priority, due_at, delivery_id
        LIMIT $3
    ) AS later
))
