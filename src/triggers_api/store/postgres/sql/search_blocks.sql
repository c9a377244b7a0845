SELECT b.part, b.number, b.body
FROM unnest($2::bigint[], $3::integer[]) AS asked (part, number)
CROSS JOIN LATERAL (
    SELECT b.part, b.number, b.body
    FROM search_blocks AS b
    WHERE b.organization_id = $1 AND b.part = asked.part AND b.number = asked.number
    LIMIT 1
) AS b
