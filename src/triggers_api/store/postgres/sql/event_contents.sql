SELECT e.id, e.payload, e.source, e.key, e.metadata
FROM unnest($2::uuid[]) AS asked (id)
CROSS JOIN LATERAL (
    SELECT e.id, e.payload, e.source, e.key, e.metadata
    FROM events AS e
    WHERE e.organization_id = $1 AND e.id = asked.id
    LIMIT 1
) AS e
WHERE e.payload IS NOT NULL
