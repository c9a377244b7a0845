-- $3 to $5: the events, and whether nobody wants them; $6 to $8: the deliveries.
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
-- One delivery per event and subscription, whatever is run again after a crash.
made AS (
    INSERT INTO deliveries (
        organization_id, id, event_id, subscription_id, origin, origin_id, status, status_at,
        attempt_count, attempt_base
    )
    SELECT h.organization_id, d.id, d.event_id, d.subscription_id, 0,
           '00000000-0000-0000-0000-000000000000', 2, $2, 0, 0
    FROM unnest($6::uuid[], $7::uuid[], $8::uuid[]) AS d (id, event_id, subscription_id)
    JOIN held AS h ON h.event_id = d.event_id
    ON CONFLICT (organization_id, event_id, subscription_id, origin_id) DO NOTHING
    RETURNING organization_id, id, subscription_id
),
due AS (
    INSERT INTO delivery_queue (organization_id, delivery_id, subscription_id, due_at)
    SELECT organization_id, id, subscription_id, $2 FROM made
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
