-- What subscriptions $2 have waiting and dead, counted up to $3, in their order.
SELECT w.count, dead.count
FROM unnest($2::uuid[]) WITH ORDINALITY AS s (id, place)
CROSS JOIN LATERAL (
    SELECT count(*) AS count
    FROM (
        SELECT
        FROM delivery_queue AS q
        WHERE q.organization_id = $1 AND q.subscription_id = s.id
        LIMIT $3
    ) AS q
) AS w
CROSS JOIN LATERAL (
    SELECT count(*) AS count
    FROM (
        SELECT
        FROM dead_letters AS l
        WHERE l.organization_id = $1 AND l.subscription_id = s.id
        LIMIT $3
    ) AS l
) AS dead
ORDER BY s.place
