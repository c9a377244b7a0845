-- Leases that ran out by $1, and those of the workers with these numbers.
WITH freed AS (
    SELECT q.ctid AS place_in_table
    FROM event_queue AS q
    WHERE q.lease_token <> 0 AND (q.lease_until <= $1 OR q.lease_token >> 32 = ANY ($2::bigint[]))
    FOR UPDATE OF q SKIP LOCKED
)
UPDATE event_queue AS q
SET lease_token = 0, lease_until = $1
WHERE q.ctid = ANY (ARRAY(SELECT place_in_table FROM freed))
