-- Of an organization $3, looking at $1 rows of a kind at the most. $2: now.
SELECT a.events, a.pruned, a.deliveries, q.looked_at, q.queued, q.oldest, 0::bigint, s.failed, s.quarantined,
       w.waiting, w.delivering, l.dead
FROM (
    SELECT coalesce(sum(events), 0)::bigint AS events, coalesce(sum(pruned), 0)::bigint AS pruned,
           coalesce(sum(deliveries), 0)::bigint AS deliveries
    FROM accounts
    WHERE organization_id = $3
) AS a
CROSS JOIN (
    SELECT count(*) AS looked_at, count(*) FILTER (WHERE q.due_at <= $2) AS queued,
           min(q.due_at) FILTER (WHERE q.due_at <= $2) AS oldest
    FROM (SELECT due_at FROM event_queue WHERE organization_id = $3 ORDER BY event_id LIMIT $1) AS q
) AS q
CROSS JOIN (
    SELECT (
               SELECT count(*)
               FROM (
                   SELECT FROM event_states
                   WHERE organization_id = $3 AND status = 3 AND status IN (3, 4, 5)
                   ORDER BY event_id
                   LIMIT $1
               ) AS s
           ) AS failed,
           (
               SELECT count(*)
               FROM (
                   SELECT FROM event_states
                   WHERE organization_id = $3 AND status = 4 AND status IN (3, 4, 5)
                   ORDER BY event_id
                   LIMIT $1
               ) AS s
           ) AS quarantined
) AS s
CROSS JOIN (
    SELECT count(*) AS waiting, count(*) FILTER (WHERE lease_token <> 0) AS delivering
    FROM (
        SELECT lease_token FROM delivery_queue WHERE organization_id = $3 ORDER BY delivery_id LIMIT $1
    ) AS q
) AS w
CROSS JOIN (
    SELECT count(*) AS dead
    FROM (SELECT FROM dead_letters WHERE organization_id = $3 ORDER BY delivery_id LIMIT $1) AS l
) AS l
