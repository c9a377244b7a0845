-- Whole events, so that the books balance at every moment.
WITH item AS MATERIALIZED (
    SELECT id FROM events WHERE organization_id = $1 ORDER BY id LIMIT $2 FOR UPDATE
),
sent AS (
    DELETE FROM deliveries AS d USING item AS i WHERE d.organization_id = $1 AND d.event_id = i.id
    RETURNING d.id
),
tried AS (
    DELETE FROM attempts AS a USING sent AS s WHERE a.organization_id = $1 AND a.delivery_id = s.id
),
waiting AS (
    DELETE FROM delivery_queue AS q USING sent AS s WHERE q.organization_id = $1 AND q.delivery_id = s.id
),
dead AS (
    DELETE FROM dead_letters AS l USING sent AS s WHERE l.organization_id = $1 AND l.delivery_id = s.id
),
queued AS (
    DELETE FROM event_queue AS q USING item AS i WHERE q.organization_id = $1 AND q.event_id = i.id
),
standing AS (
    DELETE FROM event_states AS s USING item AS i WHERE s.organization_id = $1 AND s.event_id = i.id
),
traced AS (
    DELETE FROM event_traces AS t USING item AS i WHERE t.event_id = i.id
),
gone AS (
    DELETE FROM events AS e USING item AS i WHERE e.organization_id = $1 AND e.id = i.id
    RETURNING e.id
),
counted AS (
    INSERT INTO accounts AS a (organization_id, slot, events, deliveries)
    SELECT $1, 0::smallint, -(SELECT count(*) FROM gone), -(SELECT count(*) FROM sent)
    WHERE EXISTS (SELECT FROM item)
    ON CONFLICT (organization_id, slot) DO UPDATE
    SET events = a.events + excluded.events, deliveries = a.deliveries + excluded.deliveries
)
SELECT (SELECT count(*) FROM gone), (SELECT count(*) FROM sent)
