-- Accepted events whose dedup_ids are those of others, $10: of which. They are kept, cancelled. $11: now, $12: which
-- row of the accounts to count in.
WITH item AS MATERIALIZED (
    SELECT i.*
    FROM unnest(
        $1::uuid[], $2::uuid[], $3::text[], $4::bytea[], $5::text[], $6::text[], $7::text[], $8::bigint[],
        $9::bytea[], $10::uuid[], $13::bigint[]
    ) AS i (
        id, organization_id, type, payload, dedup_id, source, key, occurred_at, metadata, duplicate_of,
        deliver_at
    )
),
stored AS (
    INSERT INTO events (
        organization_id, id, type, source, key, occurred_at, deliver_at, metadata, payload, duplicate_of,
        repeated_dedup_id
    )
    SELECT organization_id, id, type, source, key, occurred_at, deliver_at, metadata, payload, duplicate_of,
           dedup_id
    FROM item
),
ended AS (
    INSERT INTO event_states (organization_id, event_id, status, status_at, reason)
    SELECT organization_id, id, 5, $11, 'its dedup_id is that of an event before it' FROM item
)
INSERT INTO accounts AS a (organization_id, slot, events, deliveries)
SELECT organization_id, $12::smallint, count(*), 0 FROM item GROUP BY organization_id
ORDER BY organization_id
ON CONFLICT (organization_id, slot) DO UPDATE SET events = a.events + excluded.events
