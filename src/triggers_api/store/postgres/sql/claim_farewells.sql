-- The lease is in due_at: who settles must name it.
WITH chosen AS MATERIALIZED (
    SELECT organization_id, subscription_id
    FROM farewells
    WHERE due_at <= $1 AND organization_id <> ALL ($4::uuid[])
    ORDER BY due_at
    LIMIT $2
    FOR UPDATE SKIP LOCKED
)
UPDATE farewells AS f
SET due_at = $3, attempts = f.attempts + 1
FROM chosen AS c
WHERE f.organization_id = c.organization_id AND f.subscription_id = c.subscription_id
RETURNING f.organization_id, f.subscription_id, f.due_at, f.attempts
