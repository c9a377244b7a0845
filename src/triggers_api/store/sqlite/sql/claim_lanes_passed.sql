-- Lanes that are in the way at the front (?2), most and probe as in claim_due.
SELECT s.organization_id, s.id,
       CASE WHEN s.state <> 0 OR s.expires_at <= ?1 THEN 0
            WHEN h.opened > 0 THEN h.open_until <= ?1
            ELSE coalesce(s.max_concurrency, 1000000) END AS most,
       coalesce(h.opened > 0, 0) AS probe
FROM carray(?2) AS c
CROSS JOIN subscriptions AS s ON s.id = c.value
LEFT JOIN endpoint_health AS h ON h.subscription_id = s.id
