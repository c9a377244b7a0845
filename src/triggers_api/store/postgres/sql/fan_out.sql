-- $3 to $5: the events, and whether nobody wants them; $6 to $8: the deliveries; $10 to $12, of those
-- that are in a line (may be empty: give_sequences was not asked): the line, the place in it, and whether none of
-- these goes out before. The caller holds the lines. $13: codes.PARKED.
WITH item AS MATERIALIZED (
    SELECT i.* FROM unnest($3::uuid[], $4::uuid[], $5::boolean[]) AS i (organization_id, event_id, unwanted)
),
held AS MATERIALIZED (
    SELECT i.*, q.place_in_table
    FROM item AS i
    CROSS JOIN LATERAL (
        SELECT q.ctid AS place_in_table
        FROM event_queue AS q
        WHERE q.organization_id = i.organization_id AND q.event_id = i.event_id
          AND q.lease_token = $1 AND q.lease_until > $2
        LIMIT 1
        FOR UPDATE OF q
    ) AS q
),
wanted AS MATERIALIZED (
    SELECT w.*
    FROM unnest(
        $6::uuid[], $7::uuid[], $8::uuid[], $10::text[], $11::bigint[], $12::boolean[]
    ) AS w (id, event_id, subscription_id, order_key, sequence, is_first)
),
-- One delivery per event and subscription, whatever is run again after a crash.
made AS (
    INSERT INTO deliveries (
        organization_id, id, event_id, subscription_id, origin, origin_id, status, status_at,
        attempt_count, attempt_base, sequence
    )
    SELECT h.organization_id, d.id, d.event_id, d.subscription_id, 0,
           '00000000-0000-0000-0000-000000000000', 2, $2, 0, 0, d.sequence
    FROM wanted AS d
    JOIN held AS h ON h.event_id = d.event_id
    ON CONFLICT (organization_id, event_id, subscription_id, origin_id) DO NOTHING
    RETURNING organization_id, id, subscription_id
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
                THEN $2 ELSE $13 END,
           w.order_key, w.sequence
    FROM made AS m
    JOIN wanted AS w ON w.id = m.id
),
done AS (
    DELETE FROM event_queue WHERE ctid = ANY (ARRAY(SELECT place_in_table FROM held))
),
unwanted AS (
    INSERT INTO event_states (organization_id, event_id, status, status_at)
    SELECT organization_id, event_id, 1, $2 FROM held WHERE unwanted
    ON CONFLICT (organization_id, event_id) DO UPDATE
    SET status = excluded.status, status_at = excluded.status_at, reason = NULL
),
counted AS (
    INSERT INTO accounts AS a (organization_id, slot, events, deliveries)
    SELECT organization_id, $9::smallint, 0, count(*) FROM made GROUP BY organization_id
    ORDER BY organization_id
    ON CONFLICT (organization_id, slot) DO UPDATE SET deliveries = a.deliveries + excluded.deliveries
)
SELECT CASE WHEN count(*) < cardinality($4::uuid[]) THEN coalesce(array_agg(event_id), '{}') END FROM held
