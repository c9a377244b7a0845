SELECT e.id, e.type, p.payload, e.dedup_id, e.source, e.key, e.metadata, e.status, e.occurred_at,
       e.deliver_at, e.operational
FROM events AS e INDEXED BY events_dedup
LEFT JOIN event_payloads AS p ON p.event_id = e.id
WHERE e.organization_id = :organization_id AND e.dedup_id = :dedup_id
  AND e.id < :before AND e.id >= :since AND e.id < :until
  AND e.operational = :operational
  AND (:type IS NULL OR e.type GLOB :type)
  AND (:status IS NULL OR e.status = :status
       OR (:status = 0 AND e.status = 2 AND e.deliver_at <= :now))
  AND NOT (:status IS 2 AND e.deliver_at <= :now)
LIMIT :limit
