-- After ?1, in the order of their ids. At the end what event_states needs to know: the first delivery that
-- routing made says when that was, where it made one.
SELECT e.id, e.organization_id, e.type, e.dedup_id, e.source, e.key, e.occurred_at, e.deliver_at, e.metadata,
       e.operational, p.payload, e.status, e.status_at, f.reason, f.attempts,
       CASE e.status WHEN 1 THEN (
           SELECT min(d.id) >> 20 FROM deliveries AS d INDEXED BY deliveries_once
           WHERE d.event_id = e.id AND d.origin = 0
       ) END
FROM events AS e
LEFT JOIN event_payloads AS p ON p.event_id = e.id
LEFT JOIN event_failures AS f ON f.event_id = e.id
WHERE e.id > ?1
ORDER BY e.id
