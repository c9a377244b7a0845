-- The record first, as whoever opens one again does.
SELECT d.id
FROM unnest($2::uuid[]) AS asked (id)
CROSS JOIN LATERAL (
    SELECT d.id
    FROM deliveries AS d
    WHERE d.organization_id = $1 AND d.id = asked.id AND d.status = 6
    LIMIT 1
    FOR UPDATE
) AS d
