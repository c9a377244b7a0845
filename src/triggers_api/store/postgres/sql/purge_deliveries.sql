-- $2: ids of finished ones that are held; $3: when each was made, which is when its event was routed where
-- routing made it: with its deliveries gone an event's state has to say that.
WITH item AS MATERIALIZED (
    SELECT i.id, i.made_at FROM unnest($2::uuid[], $3::bigint[]) AS i (id, made_at)
),
alive AS (
    DELETE FROM dead_letters AS l USING item AS i WHERE l.organization_id = $1 AND l.delivery_id = i.id
),
tried AS (
    DELETE FROM attempts AS a USING item AS i WHERE a.organization_id = $1 AND a.delivery_id = i.id
    RETURNING 1
),
gone AS (
    DELETE FROM deliveries AS d USING item AS i WHERE d.organization_id = $1 AND d.id = i.id
    RETURNING d.event_id, d.origin, i.made_at
),
routed AS (
    INSERT INTO event_states (organization_id, event_id, status, status_at)
    SELECT $1, event_id, 1, min(made_at) FROM gone WHERE origin = 0 GROUP BY event_id ORDER BY event_id
    ON CONFLICT (organization_id, event_id) DO NOTHING
),
counted AS (
    INSERT INTO accounts AS a (organization_id, slot, events, deliveries)
    SELECT $1, $4::smallint, 0, -count(*) FROM gone HAVING count(*) > 0
    ON CONFLICT (organization_id, slot) DO UPDATE SET deliveries = a.deliveries + excluded.deliveries
)
SELECT (SELECT count(*) FROM gone), (SELECT count(*) FROM tried)
