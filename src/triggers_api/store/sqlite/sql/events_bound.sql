-- The event at which a look over so many ends.
SELECT id
FROM events INDEXED BY events_organization
WHERE organization_id = :organization_id AND id > :after AND id < :before
ORDER BY id DESC /* or upward */
LIMIT 1 OFFSET :depth
