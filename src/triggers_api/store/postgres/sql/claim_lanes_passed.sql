-- Lanes that are in the way at the front ($2, $3), as they are now; most and probe as in claim_due.
SELECT s.organization_id, s.id,
       CASE WHEN s.state <> 0 OR s.expires_at <= $1 THEN 0
            WHEN h.opened > 0 THEN (h.open_until <= $1)::integer
            ELSE coalesce(s.max_concurrency, 1000000) END AS most,
       coalesce(h.opened > 0, false) AS probe, s.version
FROM unnest($2::uuid[], $3::uuid[]) AS l (organization_id, subscription_id)
CROSS JOIN LATERAL (
    SELECT s.organization_id, s.id, s.version, s.state, s.expires_at, s.max_concurrency
    FROM subscriptions AS s
    WHERE s.organization_id = l.organization_id AND s.id = l.subscription_id
    LIMIT 1
) AS s
LEFT JOIN LATERAL (
    SELECT h.opened, h.open_until
    FROM endpoint_health AS h
    WHERE h.organization_id = l.organization_id AND h.subscription_id = l.subscription_id
    LIMIT 1
) AS h ON true
