-- Of each of these lanes up to so many of either line ($4), the longest due first. The line is asked for
-- together with the subscription, so that the index of the lines is of no use: this may be planned while a
-- line is nearly empty, and be run when it is not. The subscription is not asked for once more by itself:
-- then the second line would be looked for from the beginning of the first one, past all that waits there.
WITH lane AS MATERIALIZED (
    SELECT l.*
    FROM unnest($2::uuid[], $3::uuid[], $4::integer[]) WITH ORDINALITY
         AS l (organization_id, subscription_id, most, place)
),
first AS MATERIALIZED (
    SELECT l.place, q.*
    FROM lane AS l
    CROSS JOIN LATERAL (
        SELECT q.ctid AS place_in_table, q.delivery_id, q.priority, q.due_at, q.lease_token
        FROM delivery_queue AS q
        WHERE q.organization_id = l.organization_id
          AND (q.subscription_id, q.priority) >= (l.subscription_id, 0)
          AND (q.subscription_id, q.priority, q.due_at) <= (l.subscription_id, 0, $1)
          AND q.lease_until <= $1
        ORDER BY q.subscription_id, q.priority, q.due_at, q.delivery_id
        LIMIT l.most
        FOR UPDATE OF q SKIP LOCKED
    ) AS q
),
later AS MATERIALIZED (
    SELECT l.place, q.*
    FROM lane AS l
    CROSS JOIN LATERAL (
        SELECT q.ctid AS place_in_table, q.delivery_id, q.priority, q.due_at, q.lease_token
        FROM delivery_queue AS q
        WHERE q.organization_id = l.organization_id
          AND (q.subscription_id, q.priority) >= (l.subscription_id, 1)
          AND (q.subscription_id, q.priority, q.due_at) <= (l.subscription_id, 1, $1)
          AND q.lease_until <= $1
        ORDER BY q.subscription_id, q.priority, q.due_at, q.delivery_id
        LIMIT l.most
        FOR UPDATE OF q SKIP LOCKED
    ) AS q
)
SELECT place, delivery_id, priority, due_at, lease_token <> 0, place_in_table
FROM (SELECT * FROM first UNION ALL SELECT * FROM later) AS found
ORDER BY place, priority, due_at, delivery_id
