-- Events whose rows the caller has locked, in the order given. $5: as $6 of claim_queue.
WITH chosen AS MATERIALIZED (
    SELECT i.organization_id, i.event_id, i.place, q.place_in_table, q.due_at, q.attempts, q.lease_token,
           q.released_at
    FROM unnest($1::uuid[], $2::uuid[]) WITH ORDINALITY AS i (organization_id, event_id, place)
    CROSS JOIN LATERAL (
        SELECT q.ctid AS place_in_table, q.due_at, q.attempts, q.lease_token,
           q.released_at
        FROM event_queue AS q
        WHERE q.organization_id = i.organization_id AND q.event_id = i.event_id
        LIMIT 1
    ) AS q
),
leased AS (
    UPDATE event_queue AS q
    SET lease_token = $3, lease_until = $4, attempts = q.attempts + 1
    WHERE q.ctid = ANY (ARRAY(SELECT place_in_table FROM chosen))
)
SELECT c.organization_id, c.event_id, e.type, c.due_at, c.attempts + 1,
       e.payload, e.source, e.key, e.metadata, e.operational, c.released_at, c.lease_token <> 0,
       (SELECT version FROM settings_version)
FROM chosen AS c
CROSS JOIN LATERAL (
    SELECT e.type, e.operational, e.key,
           CASE WHEN asked THEN e.payload END AS payload, CASE WHEN asked THEN e.source END AS source,
           CASE WHEN asked THEN e.metadata END AS metadata
    FROM events AS e, (SELECT c.organization_id = ANY ($5::uuid[]) AS asked) AS wish
    WHERE e.organization_id = c.organization_id AND e.id = c.event_id
    LIMIT 1
) AS e
ORDER BY c.place
