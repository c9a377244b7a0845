-- The ids at places of parts, each read by itself: those of a whole part are much.
SELECT asked.number, asked.place, p.id
FROM unnest($2::bigint[], $3::integer[]) AS asked (number, place)
CROSS JOIN LATERAL (
    SELECT substring(p.ids FROM asked.place * 16 + 1 FOR 16) AS id
    FROM search_parts AS p
    WHERE p.organization_id = $1 AND p.number = asked.number
    LIMIT 1
) AS p
