SELECT e.id, e.xid::text, e.type, e.source, e.key, e.operational, e.payload
FROM unnest($2::uuid[]) AS asked (id)
CROSS JOIN LATERAL (
    SELECT e.* FROM events AS e WHERE e.organization_id = $1 AND e.id = asked.id LIMIT 1
) AS e
WHERE e.payload IS NOT NULL
