-- What waits of each organization in $1, counted up to the number at its place in $2, and the earliest
-- time at which one of these was due.
SELECT i.organization_id, waiting.count, waiting.due_at
FROM unnest($1::uuid[], $2::bigint[]) AS i (organization_id, most)
CROSS JOIN LATERAL (
    SELECT count(*) AS count, min(counted.due_at) AS due_at
    FROM (
        SELECT q.due_at
        FROM event_queue AS q
        WHERE q.organization_id = i.organization_id
        ORDER BY q.organization_id, q.event_id
        LIMIT i.most
    ) AS counted
) AS waiting
