-- Of organizations that are gone, and of events that are: the oldest go first.
SELECT s.id, s.organization_id, o.deleted_at IS NOT NULL
FROM organizations AS o
CROSS JOIN search_parts AS s ON s.id = (
    SELECT f.id
    FROM search_parts AS f INDEXED BY search_parts_organization
    WHERE f.organization_id = o.id
    ORDER BY f.last_id
    LIMIT 1
)
WHERE o.deleted_at IS NOT NULL OR NOT EXISTS (
    SELECT 1
    FROM events AS e INDEXED BY events_organization
    WHERE e.organization_id = o.id AND e.id >= s.first_id AND e.id <= s.last_id
)
LIMIT ?1
