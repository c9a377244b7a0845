-- The front of the line, as far as each subscription has room. $3 and $4: the room of some; $5: that of
-- every other one.
WITH lax AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true)),
front AS MATERIALIZED (
    SELECT q.ctid AS place_in_table, q.organization_id, q.delivery_id, q.subscription_id, q.due_at,
           q.lease_token
    FROM delivery_queue AS q
    WHERE q.due_at <= $1 AND q.lease_until <= $1
    ORDER BY q.due_at, q.delivery_id
    LIMIT $2
    FOR UPDATE OF q SKIP LOCKED
),
lane AS MATERIALIZED (
    SELECT f.subscription_id, s.version,
           CASE WHEN s.state = 0 AND (s.expires_at IS NULL OR s.expires_at > $1)
                THEN coalesce(r.room, least(coalesce(s.max_concurrency, $5), $5)) ELSE 0 END AS room
    FROM (SELECT DISTINCT organization_id, subscription_id FROM front) AS f
    CROSS JOIN LATERAL (
        SELECT s.version, s.state, s.expires_at, s.max_concurrency
        FROM subscriptions AS s
        WHERE s.organization_id = f.organization_id AND s.id = f.subscription_id
        LIMIT 1
    ) AS s
    LEFT JOIN unnest($3::uuid[], $4::integer[]) AS r (subscription_id, room)
         ON r.subscription_id = f.subscription_id
),
placed AS (
    SELECT front.*,
           row_number() OVER (PARTITION BY subscription_id ORDER BY due_at, delivery_id) AS place
    FROM front, lax
),
chosen AS MATERIALIZED (
    SELECT p.*, l.version FROM placed AS p JOIN lane AS l USING (subscription_id) WHERE p.place <= l.room
),
leased AS (
    UPDATE delivery_queue AS q
    SET lease_token = $6, lease_until = $7
    WHERE q.ctid = ANY (ARRAY(SELECT place_in_table FROM chosen))
    RETURNING q.organization_id, q.delivery_id
)
SELECT (SELECT count(*) FROM front) AS seen, (SELECT version FROM settings_version) AS settings_version, c.organization_id, c.delivery_id, c.subscription_id, c.version,
       c.lease_token <> 0, d.event_id, d.attempt_count, d.attempt_base, e.type, e.occurred_at, e.payload,
       e.source, e.key, e.dedup_id, e.metadata, e.operational, d.origin
FROM (SELECT 1) AS always
-- Only what was leased, see claim_queue.
LEFT JOIN (
    SELECT chosen.*
    FROM chosen
    JOIN leased AS l ON l.organization_id = chosen.organization_id AND l.delivery_id = chosen.delivery_id
) AS c ON true
LEFT JOIN LATERAL (
    SELECT d.event_id, d.attempt_count, d.attempt_base, d.origin
    FROM deliveries AS d
    WHERE d.organization_id = c.organization_id AND d.id = c.delivery_id
    LIMIT 1
) AS d ON true
LEFT JOIN LATERAL (
    SELECT e.type, e.occurred_at, e.payload, e.source, e.key, e.dedup_id, e.metadata, e.operational
    FROM events AS e
    WHERE e.organization_id = c.organization_id AND e.id = d.event_id
    LIMIT 1
) AS e ON true
ORDER BY c.due_at, c.delivery_id
