-- In the order of the numbers given.
SELECT d.id, d.event_id, e.type, coalesce(e.occurred_at, e.id >> 20), p.payload, d.attempt_count,
       d.attempt_base, d.subscription_id, s.version, e.source, e.key, e.dedup_id, e.metadata,
       e.operational, d.origin, d.sequence
FROM carray(?1) AS c
CROSS JOIN deliveries AS d ON d.id = c.value
CROSS JOIN events AS e ON e.id = d.event_id
LEFT JOIN event_payloads AS p ON p.event_id = d.event_id
CROSS JOIN subscriptions AS s ON s.id = d.subscription_id
