-- What waits for subscriptions that have ended ($3 NULL) or for this one, some at a time.
WITH chosen AS MATERIALIZED (
    SELECT q.organization_id, q.delivery_id
    FROM subscriptions AS s
    JOIN delivery_queue AS q ON q.subscription_id = s.id
    WHERE s.state = 2 AND ($3::uuid IS NULL OR s.id = $3)
    LIMIT $4
    FOR UPDATE OF q SKIP LOCKED
),
gone AS (
    DELETE FROM delivery_queue AS q
    USING chosen AS c
    WHERE q.organization_id = c.organization_id AND q.delivery_id = c.delivery_id
)
UPDATE deliveries AS d
SET status = 8, status_at = $1, reason = $2
FROM chosen AS c
WHERE d.organization_id = c.organization_id AND d.id = c.delivery_id
