-- Of the $2 events that have been due the longest: by organization how many, in somebody's hands, with a lease
-- that ran out, and since when the first of them is due; those with the most first, and how many were counted.
WITH front AS MATERIALIZED (
    SELECT organization_id, due_at, lease_token, lease_until
    FROM event_queue
    WHERE due_at <= $1
    ORDER BY due_at, event_id
    LIMIT $2
)
SELECT organization_id, count(*) AS events,
       count(*) FILTER (WHERE lease_token <> 0 AND lease_until > $1),
       count(*) FILTER (WHERE lease_token <> 0 AND lease_until <= $1),
       min(due_at), sum(count(*)) OVER ()
FROM front
GROUP BY organization_id
ORDER BY events DESC, organization_id
LIMIT $3
