-- Lane by lane, from the one after $8 on: one seek for each subscription that has anything waiting.
-- Parameters as in claim_due; $9: how many lanes to look at.
WITH RECURSIVE lax AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true)),
walk AS (
    (
        SELECT q.subscription_id, q.organization_id, 1 AS step
        FROM delivery_queue AS q
        WHERE q.subscription_id > $8
        ORDER BY q.subscription_id, q.due_at, q.delivery_id
        LIMIT 1
    )
    UNION ALL
    SELECT following.subscription_id, following.organization_id, w.step + 1
    FROM walk AS w
    CROSS JOIN LATERAL (
        SELECT q.subscription_id, q.organization_id
        FROM delivery_queue AS q
        WHERE q.subscription_id > w.subscription_id
        ORDER BY q.subscription_id, q.due_at, q.delivery_id
        LIMIT 1
    ) AS following
    WHERE w.step < $9
),
lane AS MATERIALIZED (
    SELECT w.subscription_id, w.step, s.version,
           CASE WHEN s.state = 0 AND (s.expires_at IS NULL OR s.expires_at > $1)
                THEN coalesce(r.room, least(coalesce(s.max_concurrency, $5), $5)) ELSE 0 END AS room
    FROM walk AS w
    CROSS JOIN LATERAL (
        SELECT s.version, s.state, s.expires_at, s.max_concurrency
        FROM subscriptions AS s
        WHERE s.organization_id = w.organization_id AND s.id = w.subscription_id
        LIMIT 1
    ) AS s
    LEFT JOIN unnest($3::uuid[], $4::integer[]) AS r (subscription_id, room)
         ON r.subscription_id = w.subscription_id
),
chosen AS MATERIALIZED (
    SELECT p.*, l.version, l.step
    FROM lax
    CROSS JOIN lane AS l
    CROSS JOIN LATERAL (
        SELECT q.ctid AS place_in_table, q.organization_id, q.delivery_id, q.subscription_id, q.due_at,
               q.lease_token
        FROM delivery_queue AS q
        WHERE q.subscription_id = l.subscription_id AND q.due_at <= $1 AND q.lease_until <= $1
        ORDER BY q.due_at, q.delivery_id
        LIMIT l.room
        FOR UPDATE OF q SKIP LOCKED
    ) AS p
    WHERE l.room > 0
    LIMIT $2
),
leased AS (
    UPDATE delivery_queue AS q
    SET lease_token = $6, lease_until = $7
    WHERE q.ctid = ANY (ARRAY(SELECT place_in_table FROM chosen))
    RETURNING q.organization_id, q.delivery_id
),
-- Where the next look begins: after the last lane that was served, or, when none was left to be looked
-- at, at the first (NULL).
ended AS (
    SELECT CASE WHEN (SELECT count(*) FROM chosen) >= $2
                THEN (SELECT subscription_id FROM chosen ORDER BY step DESC LIMIT 1)
                WHEN (SELECT count(*) FROM walk) >= $9
                THEN (SELECT subscription_id FROM walk ORDER BY step DESC LIMIT 1)
           END AS last
)
SELECT (SELECT last FROM ended), c.organization_id, c.delivery_id, c.subscription_id, c.version,
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
