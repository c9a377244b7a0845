-- Of the ?2 events that have been due the longest: by organization how many, in somebody's hands, with a lease
-- that ran out, and since when the first of them is due; those with the most first, and how many were counted.
WITH front AS MATERIALIZED (
    SELECT event_id, due_at, lease_token, lease_until
    FROM event_queue
    WHERE due_at <= ?1
    ORDER BY due_at, event_id
    LIMIT ?2
)
SELECT e.organization_id, count(*) AS events,
       count(*) FILTER (WHERE f.lease_token <> 4611686018427387904 AND f.lease_until > ?1),
       count(*) FILTER (WHERE f.lease_token <> 4611686018427387904 AND f.lease_until <= ?1),
       min(f.due_at), sum(count(*)) OVER ()
FROM front AS f
CROSS JOIN events AS e ON e.id = f.event_id
GROUP BY e.organization_id
ORDER BY events DESC, e.organization_id
LIMIT ?3
