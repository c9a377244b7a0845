-- Of organizations that are gone, and of events that are: the oldest go first.
SELECT o.id, s.number, o.deleted_at IS NOT NULL
FROM organizations AS o
CROSS JOIN LATERAL (
    SELECT f.number, f.first_id, f.last_id
    FROM search_parts AS f
    WHERE f.organization_id = o.id
    ORDER BY f.last_id
    LIMIT 1
) AS s
WHERE o.deleted_at IS NOT NULL OR NOT EXISTS (
    SELECT FROM events AS e WHERE e.organization_id = o.id AND e.id >= s.first_id AND e.id <= s.last_id
)
LIMIT $1
