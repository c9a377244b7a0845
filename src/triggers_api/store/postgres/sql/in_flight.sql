-- What is in somebody's hands was due before what waits: it is found first, and no backlog is counted.
SELECT count(*) FROM (
    SELECT FROM delivery_queue
    WHERE organization_id = $1 AND subscription_id = $2 AND lease_token <> 0
    ORDER BY due_at, delivery_id
    LIMIT $3
) AS leased
