-- $4 deliveries of an organization behind $2, in the order in which they were made, of those made before $3. Those
-- that ended before $5 are held, after their events: nobody opens one again, and nobody deletes the event of which
-- it is to be written down that it was routed. Passed over are those that somebody else holds, and those of an event
-- that is queued again although it was routed: they say who has it already.
WITH seen AS MATERIALIZED (
    SELECT d.id, d.event_id, d.status IN (5, 7, 8) AND d.status_at < $5 AS goes
    FROM deliveries AS d
    WHERE d.organization_id = $1 AND d.id > $2 AND d.id < $3
    ORDER BY d.id
    LIMIT $4
),
event AS MATERIALIZED (
    SELECT e.id
    FROM (SELECT DISTINCT event_id FROM seen WHERE goes) AS s
    CROSS JOIN LATERAL (
        SELECT e.id
        FROM events AS e
        WHERE e.organization_id = $1 AND e.id = s.event_id
        LIMIT 1
        FOR NO KEY UPDATE OF e SKIP LOCKED
    ) AS e
    LEFT JOIN LATERAL (
        SELECT true AS waits
        FROM event_queue AS q
        WHERE q.organization_id = $1 AND q.event_id = s.event_id
        LIMIT 1
    ) AS q ON true
    WHERE q.waits IS NULL
),
held AS MATERIALIZED (
    SELECT d.id
    FROM event AS e
    JOIN seen AS s ON s.event_id = e.id
    CROSS JOIN LATERAL (
        SELECT d.id
        FROM deliveries AS d
        WHERE d.organization_id = $1 AND d.id = s.id AND d.status IN (5, 7, 8) AND d.status_at < $5
        LIMIT 1
        FOR UPDATE OF d SKIP LOCKED
    ) AS d
    WHERE s.goes
)
SELECT (SELECT count(*) FROM seen), (SELECT id FROM seen ORDER BY id DESC LIMIT 1),
       coalesce((SELECT array_agg(id) FROM held), '{}')
