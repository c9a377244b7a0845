-- A lease that is lost with the database's last moments is none: its events are claimed again. So nobody
-- waits for the disk here. $7: organizations whose events are not looked at.
WITH lax AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true)),
due AS MATERIALIZED (
    SELECT q.ctid AS place_in_table, q.organization_id, q.event_id, q.due_at, q.attempts, q.lease_token,
           q.released_at
    FROM event_queue AS q
    WHERE q.due_at <= $1 AND q.lease_until <= $1 AND q.organization_id <> ALL ($7::uuid[])
    ORDER BY q.due_at, q.event_id
    LIMIT $2
    FOR UPDATE OF q SKIP LOCKED
),
placed AS (
    SELECT due.*, row_number() OVER (ORDER BY due_at, event_id) AS place FROM due, lax
),
-- One that has been claimed again and again may be what kills the worker: it goes alone.
chosen AS MATERIALIZED (
    SELECT *
    FROM placed
    WHERE place < coalesce((SELECT min(place) FROM placed WHERE attempts >= $5), $2 + 1) OR place = 1
),
leased AS (
    UPDATE event_queue AS q
    SET lease_token = $3, lease_until = $4, attempts = q.attempts + 1
    WHERE q.ctid = ANY (ARRAY(SELECT place_in_table FROM chosen))
    RETURNING q.organization_id, q.event_id
)
SELECT c.organization_id, c.event_id, e.type, c.due_at, c.attempts + 1,
       e.payload, e.source, e.key, e.metadata, e.operational, c.released_at, c.lease_token <> 0,
       (SELECT version FROM settings_version)
FROM chosen AS c
-- Only what was leased: a row that changed since the snapshot is locked in its new version, which the update
-- does not see. It is left for the next claim.
JOIN leased AS l ON l.organization_id = c.organization_id AND l.event_id = c.event_id
CROSS JOIN LATERAL (
    -- A payload that is not asked for is not read from where it lies apart.
    SELECT e.type, e.operational, e.key,
           CASE WHEN asked THEN e.payload END AS payload, CASE WHEN asked THEN e.source END AS source,
           CASE WHEN asked THEN e.metadata END AS metadata
    FROM events AS e, (SELECT c.organization_id = ANY ($6::uuid[]) AS asked) AS wish
    WHERE e.organization_id = c.organization_id AND e.id = c.event_id
    LIMIT 1
) AS e
ORDER BY c.place
