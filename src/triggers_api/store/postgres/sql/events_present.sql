-- Which of these events are stored, erased ones among them.
SELECT e.id
FROM unnest($1::uuid[], $2::uuid[]) AS i (organization_id, id)
CROSS JOIN LATERAL (
    SELECT e.id FROM events AS e WHERE e.organization_id = i.organization_id AND e.id = i.id LIMIT 1
) AS e
