SELECT count(*)
FROM (
    SELECT 1
    FROM events INDEXED BY events_organization
    WHERE organization_id = :organization_id AND id > :after AND id < :before
    LIMIT :limit
)
