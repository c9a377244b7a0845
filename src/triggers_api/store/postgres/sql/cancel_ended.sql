-- What waits for subscriptions that have ended ($3 NULL) or for this one, some at a time. Of what is in a
-- line only what is in one of these ($5 to $7), which the caller holds.
WITH chosen AS MATERIALIZED (
    SELECT q.ctid AS place_in_table, q.organization_id, q.delivery_id, d.place_in_record
    FROM subscriptions AS s
    JOIN delivery_queue AS q ON q.organization_id = s.organization_id AND q.subscription_id = s.id
    CROSS JOIN LATERAL (
        SELECT d.ctid AS place_in_record
        FROM deliveries AS d
        WHERE d.organization_id = q.organization_id AND d.id = q.delivery_id
        LIMIT 1
    ) AS d
    WHERE s.state = 2 AND ($3::uuid IS NULL OR s.id = $3)
      AND (
          q.order_key IS NULL
          OR (q.organization_id, q.subscription_id, q.order_key)
             IN (SELECT * FROM unnest($5::uuid[], $6::uuid[], $7::text[]))
      )
    LIMIT $4
    FOR UPDATE OF q SKIP LOCKED
),
gone AS (
    DELETE FROM delivery_queue WHERE ctid = ANY (ARRAY(SELECT place_in_table FROM chosen))
    RETURNING organization_id, delivery_id
)
UPDATE deliveries AS d
SET status = 8, status_at = $1, reason = $2
WHERE d.ctid = ANY (
    ARRAY(
        SELECT c.place_in_record
        FROM chosen AS c
        JOIN gone AS g ON g.organization_id = c.organization_id AND g.delivery_id = c.delivery_id
    )
)
