-- $6: whose deliveries are looked for, NULL for nobody's. Compared as pairs, see delivered_events. What was
-- made to test a subscription is nobody else's, as if all had it.
SELECT e.id, e.type, q.event_id IS NULL AND coalesce(s.status, 1) = 1, e.operational,
       coalesce(d.found, t.found, false)
FROM (
    SELECT id, type, operational
    FROM events
    WHERE organization_id = $1 AND id > $2 AND id >= $3 AND id < $4
    ORDER BY id
    LIMIT $5
) AS e
LEFT JOIN LATERAL (
    SELECT q.event_id FROM event_queue AS q WHERE q.organization_id = $1 AND q.event_id = e.id LIMIT 1
) AS q ON true
LEFT JOIN LATERAL (
    SELECT s.status FROM event_states AS s WHERE s.organization_id = $1 AND s.event_id = e.id LIMIT 1
) AS s ON true
LEFT JOIN LATERAL (
    SELECT true AS found
    FROM deliveries AS d
    WHERE d.organization_id = $1
      AND (d.event_id, d.subscription_id) >= (e.id, $6::uuid)
      AND (d.event_id, d.subscription_id) <= (e.id, $6::uuid)
    LIMIT 1
) AS d ON true
LEFT JOIN LATERAL (
    SELECT true AS found
    FROM deliveries AS t
    WHERE e.operational AND t.organization_id = $1
      AND (t.event_id, t.subscription_id) >= (e.id, '00000000-0000-0000-0000-000000000000')
      AND (t.event_id, t.subscription_id) <= (e.id, 'ffffffff-ffff-ffff-ffff-ffffffffffff')
      AND t.origin = 2
    LIMIT 1
) AS t ON true
ORDER BY e.id
