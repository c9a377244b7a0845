-- After the organization that had the last turn, $2; from the first again behind the last.
WITH chosen AS MATERIALIZED (
    SELECT organization_id, id, lease_token
    FROM jobs
    WHERE status = 0 AND due_at <= $1 AND lease_until <= $1
    ORDER BY organization_id <= $2, organization_id, due_at, id
    LIMIT 1
    FOR UPDATE SKIP LOCKED
)
UPDATE jobs AS j
SET lease_until = $3, lease_token = $4
FROM chosen AS c
WHERE j.organization_id = c.organization_id AND j.id = c.id
RETURNING j.organization_id, j.body, j.position, j.due_at, c.lease_token <> 0
