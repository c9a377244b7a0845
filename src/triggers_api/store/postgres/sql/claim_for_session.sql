-- As claim_due, of one subscription ($3, $4) that nobody else claims for.
WITH lax AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true)),
lane AS MATERIALIZED (
    SELECT s.id, s.version
    FROM subscriptions AS s
    WHERE s.organization_id = $3 AND s.id = $4 AND s.state = 1
      AND (s.expires_at IS NULL OR s.expires_at > $1)
),
chosen AS MATERIALIZED (
    SELECT p.*, l.version
    FROM lax
    CROSS JOIN lane AS l
    CROSS JOIN LATERAL (
        SELECT q.ctid AS place_in_table, q.organization_id, q.delivery_id, q.subscription_id, q.due_at,
               q.lease_token
        FROM delivery_queue AS q
        WHERE q.subscription_id = l.id AND q.organization_id = $3 AND q.due_at <= $1 AND q.lease_until <= $1
        ORDER BY q.due_at, q.delivery_id
        LIMIT $2
        FOR UPDATE OF q SKIP LOCKED
    ) AS p
),
leased AS (
    UPDATE delivery_queue AS q
    SET lease_token = $5, lease_until = $6
    WHERE q.ctid = ANY (ARRAY(SELECT place_in_table FROM chosen))
    RETURNING q.organization_id, q.delivery_id
)
SELECT c.organization_id, c.delivery_id, c.subscription_id, c.version, c.lease_token <> 0, d.event_id,
       d.attempt_count, d.attempt_base, e.type, e.occurred_at, e.payload, e.source, e.key, e.dedup_id,
       e.metadata, e.operational
FROM chosen AS c
-- Only what was leased, see claim_queue.
JOIN leased AS l ON l.organization_id = c.organization_id AND l.delivery_id = c.delivery_id
CROSS JOIN LATERAL (
    SELECT d.event_id, d.attempt_count, d.attempt_base
    FROM deliveries AS d
    WHERE d.organization_id = c.organization_id AND d.id = c.delivery_id
    LIMIT 1
) AS d
CROSS JOIN LATERAL (
    SELECT e.type, e.occurred_at, e.payload, e.source, e.key, e.dedup_id, e.metadata, e.operational
    FROM events AS e
    WHERE e.organization_id = c.organization_id AND e.id = d.event_id
    LIMIT 1
) AS e
ORDER BY c.due_at, c.delivery_id
