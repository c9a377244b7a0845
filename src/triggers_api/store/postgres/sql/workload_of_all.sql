-- Of all organizations, looking at $1 rows of a kind at the most. $2: now.
SELECT a.events, a.pruned, a.deliveries, q.looked_at, q.queued, q.oldest, s.looked_at, s.failed, s.quarantined,
       w.waiting, w.delivering, l.dead
FROM (
    SELECT coalesce(sum(events), 0)::bigint AS events, coalesce(sum(pruned), 0)::bigint AS pruned,
           coalesce(sum(deliveries), 0)::bigint AS deliveries
    FROM accounts
) AS a
CROSS JOIN (
    SELECT count(*) AS looked_at, count(*) AS queued, min(q.due_at) AS oldest
    FROM (
        SELECT due_at FROM event_queue WHERE due_at <= $2 ORDER BY due_at, event_id LIMIT $1
    ) AS q
) AS q
CROSS JOIN (
    SELECT count(*) AS looked_at, count(*) FILTER (WHERE s.status = 3) AS failed,
           count(*) FILTER (WHERE s.status = 4) AS quarantined
    FROM (
        SELECT status FROM event_states
        WHERE status IN (3, 4) AND reason IS NOT NULL
        ORDER BY event_id
        LIMIT $1
    ) AS s
) AS s
CROSS JOIN (
    SELECT count(*) AS waiting, count(*) FILTER (WHERE lease_token <> 0) AS delivering
    FROM (SELECT lease_token FROM delivery_queue LIMIT $1) AS q
) AS w
CROSS JOIN (
    SELECT count(*) AS dead FROM (SELECT FROM dead_letters LIMIT $1) AS l
) AS l
