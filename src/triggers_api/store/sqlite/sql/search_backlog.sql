SELECT o.id, (
    SELECT count(*) FROM (
        SELECT 1
        FROM events AS e INDEXED BY events_organization
        WHERE e.organization_id = o.id AND e.id > coalesce(p.position, 0)
        LIMIT ?1
    )
)
FROM organizations AS o
LEFT JOIN search_progress AS p ON p.organization_id = o.id
WHERE o.deleted_at IS NULL
