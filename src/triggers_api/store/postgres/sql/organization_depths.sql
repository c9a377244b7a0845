-- What waits of each organization in $1, counted up to the number at its place in $2.
SELECT i.organization_id, waiting.count
FROM unnest($1::uuid[], $2::bigint[]) AS i (organization_id, most)
CROSS JOIN LATERAL (
    SELECT count(*) AS count
    FROM (
        SELECT FROM event_queue AS q
        WHERE q.organization_id = i.organization_id
        ORDER BY q.organization_id, q.event_id
        LIMIT i.most
    ) AS counted
) AS waiting
