-- Leases that ran out by $1, and those of the workers with these numbers.
UPDATE jobs
SET lease_token = 0, lease_until = $1
WHERE status = 0 AND lease_token <> 0
  AND (lease_until <= $1 OR lease_token >> 32 = ANY ($2::bigint[]))
