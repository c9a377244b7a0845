-- The lease is in open_until: who settles must name it.
UPDATE endpoint_health
SET open_until = ?3
WHERE subscription_id IN (
    SELECT h.subscription_id
    FROM endpoint_health AS h
    CROSS JOIN subscriptions AS s ON s.id = h.subscription_id
    WHERE h.disabled_at IS NOT NULL AND h.open_until <= ?1 AND s.deleted_at IS NULL AND s.state <> 0
      AND s.organization_id NOT IN carray(?4)
    ORDER BY h.open_until
    LIMIT ?2
)
RETURNING subscription_id, failures, failing_since, error, opened, open_until, probe_from, warned_at, disabled_at
