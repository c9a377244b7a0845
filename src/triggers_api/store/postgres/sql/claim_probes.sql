-- The lease is in open_until: who settles must name it.
WITH chosen AS MATERIALIZED (
    SELECT h.organization_id, h.subscription_id
    FROM endpoint_health AS h
    JOIN subscriptions AS s ON s.organization_id = h.organization_id AND s.id = h.subscription_id
    WHERE h.disabled_at IS NOT NULL AND h.open_until <= $1 AND s.deleted_at IS NULL AND s.state <> 0
      AND h.organization_id <> ALL ($4::uuid[])
    ORDER BY h.open_until
    LIMIT $2
    FOR UPDATE OF h SKIP LOCKED
)
UPDATE endpoint_health AS h
SET open_until = $3
FROM chosen AS c
WHERE h.organization_id = c.organization_id AND h.subscription_id = c.subscription_id
RETURNING h.organization_id, h.subscription_id, h.failures, h.failing_since, h.error, h.opened, h.open_until,
          h.probe_from, h.warned_at, h.disabled_at
