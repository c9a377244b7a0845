UPDATE jobs
SET lease_token = 4611686018427387904, lease_until = ?2
WHERE status = 0 AND lease_token <> 4611686018427387904 AND lease_until <= ?1
