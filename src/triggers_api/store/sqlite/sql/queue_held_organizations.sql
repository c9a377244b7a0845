-- Which of these organizations have an event in somebody's hands.
SELECT DISTINCT e.organization_id
FROM event_queue AS q INDEXED BY event_queue_leased
CROSS JOIN events AS e ON e.id = q.event_id
WHERE q.lease_token <> 4611686018427387904 AND q.lease_until > ?1 AND e.organization_id IN carray(?2)
