-- Counted up to :most.
WITH due AS MATERIALIZED (
    SELECT due_at FROM event_queue WHERE due_at <= :now ORDER BY due_at, event_id LIMIT :most
),
aside AS MATERIALIZED (
    SELECT status FROM events INDEXED BY events_set_aside WHERE status IN (3, 4) ORDER BY id LIMIT :most
)
SELECT coalesce((SELECT sum(events) FROM accounts), 0),
       coalesce((SELECT sum(pruned) FROM accounts), 0),
       coalesce((SELECT sum(deliveries) FROM accounts), 0),
       (SELECT count(*) FROM due),
       (SELECT count(*) FROM due),
       (SELECT min(due_at) FROM due),
       (SELECT count(*) FROM aside),
       (SELECT count(*) FROM aside WHERE status = 3),
       (SELECT count(*) FROM aside WHERE status = 4),
       (
           SELECT count(*)
           FROM (SELECT 1 FROM deliveries AS d INDEXED BY deliveries_due WHERE d.due_at IS NOT NULL LIMIT :most)
       ),
       (
           SELECT count(*)
           FROM (SELECT 1 FROM deliveries AS d INDEXED BY deliveries_leased WHERE d.status = 3 LIMIT :most)
       ),
       (
           SELECT count(*)
           FROM (SELECT 1 FROM deliveries AS d INDEXED BY deliveries_dead WHERE d.status = 6 LIMIT :most)
       )
