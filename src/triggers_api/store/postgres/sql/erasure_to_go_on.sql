SELECT organization_id, requested_at FROM erasures
WHERE finished_at IS NULL AND requested_at <= $1
ORDER BY requested_at
LIMIT 1
FOR UPDATE SKIP LOCKED
