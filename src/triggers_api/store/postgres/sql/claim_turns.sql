-- Up to $2 of these organizations that have events in the queue and from which no other claim takes any until
-- this transaction ends. At random, so that each has its turn. $3: which kind of lock.
WITH lax AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true)),
waiting AS MATERIALIZED (
    SELECT o.organization_id
    FROM lax
    CROSS JOIN unnest($1::uuid[]) AS o (organization_id)
    CROSS JOIN LATERAL (
        SELECT FROM event_queue AS q WHERE q.organization_id = o.organization_id LIMIT 1
    ) AS q
    ORDER BY random()
    LIMIT $2
)
SELECT organization_id
FROM waiting
WHERE pg_try_advisory_xact_lock($3::integer, hashtext(organization_id::text))
