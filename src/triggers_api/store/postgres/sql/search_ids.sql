SELECT p.number, p.ids
FROM unnest($2::bigint[]) AS asked (number)
CROSS JOIN LATERAL (
    SELECT p.number, p.ids
    FROM search_parts AS p
    WHERE p.organization_id = $1 AND p.number = asked.number
    LIMIT 1
) AS p
