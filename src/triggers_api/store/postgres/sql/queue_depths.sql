-- Counted up to $2 of each kind and one more; for more than that there is the planner's estimate. What is in
-- somebody's hands was due before what waits, so it is among those that are counted.
WITH due AS MATERIALIZED (
    SELECT due_at, lease_token, lease_until
    FROM event_queue
    WHERE due_at <= $1
    ORDER BY due_at, event_id
    LIMIT $2 + 1
),
scheduled AS MATERIALIZED (
    SELECT due_at FROM event_queue WHERE due_at > $1 ORDER BY due_at, event_id LIMIT $2 + 1
),
first AS MATERIALIZED (
    SELECT lease_token FROM delivery_queue WHERE priority = 0 ORDER BY due_at, delivery_id LIMIT $2 + 1
),
later AS MATERIALIZED (
    SELECT lease_token FROM delivery_queue WHERE priority = 1 ORDER BY due_at, delivery_id LIMIT $2 + 1
),
breakers AS MATERIALIZED (
    SELECT count(*) FILTER (WHERE opened > 0) AS opened,
           count(*) FILTER (WHERE opened > 0 AND open_until <= $1) AS let_through,
           count(*) AS known
    FROM endpoint_health
),
estimate AS (
    SELECT relname,
           (greatest(reltuples, 0) / greatest(relpages, 1) * pg_relation_size(oid)
            / current_setting('block_size')::integer)::bigint AS count
    FROM pg_class
    WHERE oid IN ('event_queue'::regclass, 'delivery_queue'::regclass)
)
SELECT (SELECT count(*) FROM due), (SELECT count(*) FROM scheduled), (SELECT min(due_at) FROM due),
       (SELECT count(*) FROM due WHERE lease_token <> 0),
       (SELECT count(*) FROM due WHERE lease_token <> 0 AND lease_until <= $1),
       (SELECT count FROM estimate WHERE relname = 'event_queue'),
       (SELECT count(*) FROM first), (SELECT count(*) FROM later),
       (SELECT count(*) FROM first WHERE lease_token <> 0)
       + (SELECT count(*) FROM later WHERE lease_token <> 0),
       (SELECT count FROM estimate WHERE relname = 'delivery_queue'),
       breakers.opened, breakers.let_through, breakers.known
FROM breakers
