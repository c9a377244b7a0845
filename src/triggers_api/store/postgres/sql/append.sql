-- Parameters: an array for each column of the events, and which row of the accounts to count in. An array
-- whose values are all NULL may be empty: unnest fills it up.
WITH durable AS MATERIALIZED (
    SELECT CASE current_setting('synchronous_commit')
           WHEN 'off' THEN set_config('synchronous_commit', 'on', true)
           ELSE current_setting('synchronous_commit') END AS level
),
item AS MATERIALIZED (
    SELECT i.*
    FROM durable
    CROSS JOIN unnest(
        $1::uuid[], $2::uuid[], $3::text[], $4::bytea[], $5::text[], $6::text[], $7::text[],
        $8::bigint[], $9::bigint[], $10::bytea[], $11::bigint[], $12::boolean[]
    ) AS i (
        id, organization_id, type, payload, dedup_id, source, key, occurred_at, deliver_at, metadata, due_at,
        operational
    )
),
-- The commit decides duplicates: who comes second changes nothing here.
stored AS (
    INSERT INTO events (
        organization_id, id, type, dedup_id, source, key, occurred_at, deliver_at, metadata, operational,
        payload
    )
    SELECT organization_id, id, type, dedup_id, source, key, occurred_at, deliver_at, metadata,
           coalesce(operational, false), payload
    FROM item
    ON CONFLICT (organization_id, dedup_id) WHERE dedup_id IS NOT NULL DO NOTHING
    RETURNING organization_id, id
),
queued AS (
    INSERT INTO event_queue (organization_id, event_id, due_at)
    SELECT i.organization_id, i.id, i.due_at
    FROM stored AS s
    JOIN item AS i ON i.id = s.id
),
counted AS (
    INSERT INTO accounts AS a (organization_id, slot, events, deliveries)
    SELECT organization_id, $13::smallint, count(*), 0 FROM stored GROUP BY organization_id
    ORDER BY organization_id
    ON CONFLICT (organization_id, slot) DO UPDATE SET events = a.events + excluded.events
)
SELECT (SELECT level FROM durable),
       CASE WHEN count(*) < cardinality($1::uuid[]) THEN coalesce(array_agg(id), '{}') END
FROM stored
