-- One delivery per event, subscription and job. $2 to $5: the deliveries, each with what asked for it.
WITH made AS (
    INSERT INTO deliveries (
        organization_id, id, event_id, subscription_id, origin, origin_id, status, status_at,
        attempt_count, attempt_base
    )
    SELECT $1, i.id, i.event_id, i.subscription_id, 1, i.origin_id, 2, $6, 0, 0
    FROM unnest($2::uuid[], $3::uuid[], $4::uuid[], $5::uuid[])
         AS i (id, event_id, subscription_id, origin_id)
    ON CONFLICT (organization_id, event_id, subscription_id, origin_id) DO NOTHING
    RETURNING id, subscription_id
),
due AS (
    INSERT INTO delivery_queue (organization_id, delivery_id, subscription_id, due_at, priority)
    SELECT $1, id, subscription_id, $6, 1 FROM made
),
counted AS (
    INSERT INTO accounts AS a (organization_id, slot, events, deliveries)
    SELECT $1, $7::smallint, 0, count(*) FROM made HAVING count(*) > 0
    ON CONFLICT (organization_id, slot) DO UPDATE SET deliveries = a.deliveries + excluded.deliveries
)
SELECT count(*) FROM made
