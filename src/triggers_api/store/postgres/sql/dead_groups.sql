-- Groups of dead letters behind ($2, $3), by subscription and error class, from each step to the next; how many are
-- in each, counted up to $5, and the last one.
WITH RECURSIVE groups AS (
    (
        SELECT l.subscription_id, l.error_class, 1 AS place
        FROM dead_letters AS l
        WHERE l.organization_id = $1 AND (l.subscription_id, l.error_class) > ($2::uuid, $3::text)
        ORDER BY l.subscription_id, l.error_class
        LIMIT 1
    )
    UNION ALL
    SELECT n.subscription_id, n.error_class, g.place + 1
    FROM groups AS g
    CROSS JOIN LATERAL (
        SELECT l.subscription_id, l.error_class
        FROM dead_letters AS l
        WHERE l.organization_id = $1 AND (l.subscription_id, l.error_class) > (g.subscription_id, g.error_class)
        ORDER BY l.subscription_id, l.error_class
        LIMIT 1
    ) AS n
    WHERE g.place < $4
)
SELECT g.subscription_id, g.error_class, c.count, last.delivery_id
FROM groups AS g
CROSS JOIN LATERAL (
    SELECT count(*) AS count
    FROM (
        SELECT
        FROM dead_letters AS l
        WHERE l.organization_id = $1 AND l.subscription_id = g.subscription_id AND l.error_class = g.error_class
        LIMIT $5
    ) AS l
) AS c
CROSS JOIN LATERAL (
    SELECT l.delivery_id
    FROM dead_letters AS l
    WHERE l.organization_id = $1 AND l.subscription_id = g.subscription_id AND l.error_class = g.error_class
    ORDER BY l.delivery_id DESC
    LIMIT 1
) AS last
ORDER BY g.place
