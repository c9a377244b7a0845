-- $5: which kind, $9: the status wanted, $10: now, $11 or $12: what the payload must hold as it is written.
SELECT e.id, e.type, e.payload, coalesce(e.dedup_id, e.repeated_dedup_id), e.source, e.key, e.metadata,
       e.occurred_at, e.deliver_at, s.status, q.event_id IS NOT NULL, e.operational, e.duplicate_of
FROM events AS e
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
WHERE e.organization_id = $1 AND e.id > $2 AND e.id < $3
  AND s.status IS DISTINCT FROM 6
  AND e.operational = $5
  AND ($6::text IS NULL OR e.type LIKE $6)
  AND ($7::text IS NULL OR e.source = $7)
  AND ($8::text IS NULL OR e.key = $8)
  AND ($9::smallint IS NULL OR $9 = CASE
          WHEN q.event_id IS NULL THEN coalesce(s.status, 1)
          WHEN e.deliver_at > $10::bigint THEN 2
          ELSE 0 END)
  -- What may hold it although it is not there as it is written: escapes, and letters beyond ASCII.
  AND ($11::text IS NULL
       OR (SELECT strpos(p.text, $11) > 0 OR strpos(p.text, '\') > 0
                  OR ($12::text IS NOT NULL AND strpos(p.text, $12) > 0)
           FROM (SELECT lower(encode(e.payload, 'escape') COLLATE "C") AS text OFFSET 0) AS p))
ORDER BY e.id DESC /* or upward */
LIMIT $4
