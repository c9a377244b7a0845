-- Counted up to $1. $2: now.
SELECT coalesce((SELECT sum(events) FROM accounts WHERE organization_id = $3), 0)::bigint,
       coalesce((SELECT sum(pruned) FROM accounts WHERE organization_id = $3), 0)::bigint,
       coalesce((SELECT sum(deliveries) FROM accounts WHERE organization_id = $3), 0)::bigint,
       (
           SELECT q.due_at
           FROM event_queue AS q
           WHERE q.due_at <= $2 AND q.organization_id = $3
           ORDER BY q.event_id
           LIMIT 1
       ),
       (SELECT count(*) FROM (SELECT FROM event_queue AS q WHERE q.due_at <= $2 AND q.organization_id = $3 LIMIT $1) AS n),
       (SELECT count(*) FROM (SELECT FROM event_states AS s WHERE s.organization_id = $3 AND s.status = 3 LIMIT $1) AS n),
       (SELECT count(*) FROM (SELECT FROM event_states AS s WHERE s.organization_id = $3 AND s.status = 4 LIMIT $1) AS n),
       (SELECT count(*) FROM (SELECT FROM delivery_queue AS q WHERE q.organization_id = $3 LIMIT $1) AS n),
       (SELECT count(*) FROM (SELECT FROM delivery_queue AS q WHERE q.lease_token <> 0 AND q.organization_id = $3 LIMIT $1) AS n),
       (SELECT count(*) FROM (SELECT FROM dead_letters AS l WHERE l.organization_id = $3 LIMIT $1) AS n)
