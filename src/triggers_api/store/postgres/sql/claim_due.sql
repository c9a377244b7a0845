-- The front of both lines, up to $2 and $3 of them, behind the places ($4, $5) and ($6, $7). most: how many the
-- subscription may have at once, 0 when it may have none now.
WITH lax AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true)),
first AS MATERIALIZED (
    SELECT q.ctid AS place_in_table, q.organization_id, q.delivery_id, q.subscription_id, q.priority, q.due_at,
           q.lease_token
    FROM delivery_queue AS q
    WHERE q.priority = 0 AND q.due_at <= $1 AND (q.due_at, q.delivery_id) > ($4, $5)
      AND q.lease_until <= $1
    ORDER BY q.due_at, q.delivery_id
    LIMIT $2
    FOR UPDATE OF q SKIP LOCKED
),
later AS MATERIALIZED (
    SELECT q.ctid AS place_in_table, q.organization_id, q.delivery_id, q.subscription_id, q.priority, q.due_at,
           q.lease_token
    FROM delivery_queue AS q
    WHERE q.priority = 1 AND q.due_at <= $1 AND (q.due_at, q.delivery_id) > ($6, $7)
      AND q.lease_until <= $1
    ORDER BY q.due_at, q.delivery_id
    LIMIT $3
    FOR UPDATE OF q SKIP LOCKED
),
front AS MATERIALIZED (SELECT * FROM first UNION ALL SELECT * FROM later),
lane AS MATERIALIZED (
    SELECT f.organization_id, f.subscription_id, s.version,
           CASE WHEN s.state <> 0 OR s.expires_at <= $1 THEN 0
                WHEN h.opened > 0 THEN (h.open_until <= $1)::integer
                ELSE coalesce(s.max_concurrency, 1000000) END AS most,
           coalesce(h.opened > 0, false) AS probe
    FROM (SELECT DISTINCT organization_id, subscription_id FROM front) AS f
    CROSS JOIN LATERAL (
        SELECT s.version, s.state, s.expires_at, s.max_concurrency
        FROM subscriptions AS s
        WHERE s.organization_id = f.organization_id AND s.id = f.subscription_id
        LIMIT 1
    ) AS s
    LEFT JOIN LATERAL (
        SELECT h.opened, h.open_until
        FROM endpoint_health AS h
        WHERE h.organization_id = f.organization_id AND h.subscription_id = f.subscription_id
        LIMIT 1
    ) AS h ON true
)
SELECT (SELECT version FROM settings_version) AS settings_version, f.delivery_id, f.organization_id,
       f.subscription_id, l.most, l.probe, f.priority, f.due_at, f.lease_token <> 0, f.place_in_table,
       l.version
FROM lax
LEFT JOIN front AS f ON true
LEFT JOIN lane AS l ON l.organization_id = f.organization_id AND l.subscription_id = f.subscription_id
ORDER BY f.priority, f.due_at, f.delivery_id
