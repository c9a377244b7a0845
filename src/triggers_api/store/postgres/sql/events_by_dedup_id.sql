-- $8: the status wanted, $9: now, $10: which kind.
SELECT e.id, e.type, e.payload, e.dedup_id, e.source, e.key, e.metadata, e.occurred_at, e.deliver_at,
       s.status, q.event_id IS NOT NULL, e.operational
FROM (SELECT * FROM events WHERE organization_id = $1 AND dedup_id = $7::text LIMIT 1) AS e
LEFT JOIN LATERAL (
    SELECT q.event_id
    FROM event_queue AS q
    WHERE q.organization_id = e.organization_id AND q.event_id = e.id
    LIMIT 1
) AS q ON true
LEFT JOIN LATERAL (
    SELECT s.status, s.status_at, s.reason
    FROM event_states AS s
    WHERE s.organization_id = e.organization_id AND s.event_id = e.id
    LIMIT 1
) AS s ON true
WHERE e.id < $2 AND e.id >= $3 AND e.id < $4
  AND s.status IS DISTINCT FROM 6
  AND e.operational = $10
  AND ($6::text IS NULL OR e.type LIKE $6)
  AND ($8::smallint IS NULL OR $8 = CASE
          WHEN q.event_id IS NULL THEN coalesce(s.status, 1)
          WHEN e.deliver_at > $9::bigint THEN 2
          ELSE 0 END)
LIMIT $5
