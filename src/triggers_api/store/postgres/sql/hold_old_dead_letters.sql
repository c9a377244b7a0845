-- $4 dead letters of an organization behind $2, in the order in which they were made, of those made before $3. Those
-- that died before $5 are held, as hold_old_deliveries does it.
WITH seen AS MATERIALIZED (
    SELECT l.delivery_id AS id, d.event_id, coalesce(d.status = 6 AND d.status_at < $5, false) AS goes
    FROM (
        SELECT l.delivery_id
        FROM dead_letters AS l
        WHERE l.organization_id = $1 AND l.delivery_id > $2 AND l.delivery_id < $3
        ORDER BY l.delivery_id
        LIMIT $4
    ) AS l
    LEFT JOIN LATERAL (
        SELECT d.event_id, d.status, d.status_at
        FROM deliveries AS d
        WHERE d.organization_id = $1 AND d.id = l.delivery_id
        LIMIT 1
    ) AS d ON true
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
        WHERE d.organization_id = $1 AND d.id = s.id AND d.status = 6 AND d.status_at < $5
        LIMIT 1
        FOR UPDATE OF d SKIP LOCKED
    ) AS d
    WHERE s.goes
)
SELECT (SELECT count(*) FROM seen), (SELECT id FROM seen ORDER BY id DESC LIMIT 1),
       coalesce((SELECT array_agg(id) FROM held), '{}')
