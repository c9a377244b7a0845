SELECT e.id, e.type, p.payload, e.dedup_id, e.source, e.key, e.metadata, e.status, e.occurred_at,
       e.deliver_at, e.operational
FROM events AS e INDEXED BY events_aside
LEFT JOIN event_payloads AS p ON p.event_id = e.id
WHERE e.organization_id = :organization_id AND e.status IN (3, 4, 5) AND e.status = :status
  AND e.id > :after AND e.id < :before
  AND e.status <> 6
  AND e.operational = :operational
  AND (:type IS NULL OR e.type GLOB :type)
  AND (:source IS NULL OR e.source = :source)
  AND (:key IS NULL OR e.key = :key)
  AND (:status IS NULL OR e.status = :status
       OR (:status = 0 AND e.status = 2 AND e.deliver_at <= :now))
  AND NOT (:status IS 2 AND e.deliver_at <= :now)
  -- What may hold it although it is not there as it is written: escapes, and letters beyond ASCII.
  AND (:needle IS NULL
       OR instr(lower(CAST(p.payload AS TEXT)), :needle) > 0
       OR (:or_needle IS NOT NULL AND instr(lower(CAST(p.payload AS TEXT)), :or_needle) > 0)
       OR instr(p.payload, x'5c') > 0
       OR length(CAST(p.payload AS TEXT)) <> length(p.payload))
ORDER BY e.id DESC /* or upward */
LIMIT :limit
