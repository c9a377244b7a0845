-- The events of append_routed and append_queue alone: which of them are stored is known before anything is made
-- for them.
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
        $8::bigint[], $9::bigint[], $10::bytea[], $11::boolean[]
    ) AS i (
        id, organization_id, type, payload, dedup_id, source, key, occurred_at, deliver_at, metadata,
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
)
SELECT (SELECT level FROM durable), coalesce(array_agg(id), '{}') FROM stored
