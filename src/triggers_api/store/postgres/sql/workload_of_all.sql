-- Counted up to $1. $2: now.
SELECT coalesce((SELECT sum(events) FROM accounts), 0)::bigint,
       coalesce((SELECT sum(pruned) FROM accounts), 0)::bigint,
       coalesce((SELECT sum(deliveries) FROM accounts), 0)::bigint,
       (
           SELECT q.due_at
           FROM event_queue AS q
           WHERE q.due_at <= $2
           ORDER BY q.due_at, q.event_id
           LIMIT 1
       ),
       (SELECT count(*) FROM (SELECT FROM event_queue AS q WHERE q.due_at <= $2 LIMIT $1) AS n),
       (SELECT count(*) FROM (SELECT FROM event_states AS s WHERE s.status IN (3, 4) AND s.reason IS NOT NULL AND s.status = 3 LIMIT $1) AS n),
       (SELECT count(*) FROM (SELECT FROM event_states AS s WHERE s.status IN (3, 4) AND s.reason IS NOT NULL AND s.status = 4 LIMIT $1) AS n),
       (SELECT count(*) FROM (SELECT FROM delivery_queue AS q LIMIT $1) AS n),
       (SELECT count(*) FROM (SELECT FROM delivery_queue AS q WHERE q.lease_token <> 0 LIMIT $1) AS n),
       (SELECT count(*) FROM (SELECT FROM dead_letters AS l LIMIT $1) AS n)
