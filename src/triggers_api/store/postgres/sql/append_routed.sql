-- As append, for events that come with routing's answer: $12 to $14 are an array for each column of the
-- deliveries. An event without any is wanted by nobody. $15: the settings version by which each was routed;
-- what has been routed by an older one than the present is put in the queue as well, to be routed again,
-- because a subscription that was confirmed before the event came in may be missing. $17: the events are in
-- their table already (append_events). $18 to $21: as $10 to $13 of fan_out.
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
        $8::bigint[], $9::bigint[], $10::bytea[], $11::bigint[], $15::bigint[]
    ) AS i (
        id, organization_id, type, payload, dedup_id, source, key, occurred_at, deliver_at, metadata,
        received_at, settings_version
    )
),
wanted AS MATERIALIZED (
    SELECT w.*
    FROM unnest(
        $12::uuid[], $13::uuid[], $14::uuid[], $18::text[], $19::bigint[], $20::boolean[]
    ) AS w (id, event_id, subscription_id, order_key, sequence, is_first)
),
stored AS (
    INSERT INTO events (
        organization_id, id, type, dedup_id, source, key, occurred_at, deliver_at, metadata, payload
    )
    SELECT organization_id, id, type, dedup_id, source, key, occurred_at, deliver_at, metadata, payload
    FROM item
    WHERE NOT $17
    ON CONFLICT (organization_id, dedup_id) WHERE dedup_id IS NOT NULL DO NOTHING
    RETURNING organization_id, id
),
kept AS MATERIALIZED (
    SELECT organization_id, id FROM stored
    UNION ALL
    SELECT organization_id, id FROM item WHERE $17
),
made AS (
    INSERT INTO deliveries (
        organization_id, id, event_id, subscription_id, origin, origin_id, status, status_at,
        attempt_count, attempt_base, sequence
    )
    SELECT s.organization_id, w.id, w.event_id, w.subscription_id, 0,
           '00000000-0000-0000-0000-000000000000', 2, i.received_at, 0, 0, w.sequence
    FROM wanted AS w
    JOIN kept AS s ON s.id = w.event_id
    JOIN item AS i ON i.id = w.event_id
    RETURNING organization_id, id, subscription_id, status_at
),
due AS (
    INSERT INTO delivery_queue (organization_id, delivery_id, subscription_id, due_at, order_key, sequence)
    SELECT m.organization_id, m.id, m.subscription_id,
           CASE WHEN w.order_key IS NULL OR w.is_first AND NOT EXISTS (
                    SELECT
                    FROM delivery_queue AS q
                    WHERE q.organization_id = m.organization_id AND q.subscription_id = m.subscription_id
                      AND q.order_key = w.order_key
                )
                THEN m.status_at ELSE $21 END,
           w.order_key, w.sequence
    FROM made AS m
    JOIN wanted AS w ON w.id = m.id
),
unwanted AS (
    INSERT INTO event_states (organization_id, event_id, status, status_at)
    SELECT i.organization_id, i.id, 1, i.received_at
    FROM kept AS s
    JOIN item AS i ON i.id = s.id
    WHERE NOT EXISTS (SELECT FROM wanted AS w WHERE w.event_id = s.id)
),
again AS (
    INSERT INTO event_queue (organization_id, event_id, due_at)
    SELECT i.organization_id, i.id, i.received_at
    FROM kept AS s
    JOIN item AS i ON i.id = s.id
    WHERE i.settings_version < (SELECT version FROM settings_version)
),
counted AS (
    INSERT INTO accounts AS a (organization_id, slot, events, deliveries)
    SELECT organization_id, $16::smallint, sum(events), sum(deliveries)
    FROM (
        SELECT organization_id, 1 AS events, 0 AS deliveries FROM kept
        UNION ALL
        SELECT organization_id, 0, 1 FROM made
    ) AS counts
    GROUP BY organization_id
    ORDER BY organization_id
    ON CONFLICT (organization_id, slot) DO UPDATE
    SET events = a.events + excluded.events, deliveries = a.deliveries + excluded.deliveries
)
SELECT (SELECT level FROM durable),
       CASE WHEN count(*) < cardinality($1::uuid[]) THEN coalesce(array_agg(id), '{}') END
FROM kept
