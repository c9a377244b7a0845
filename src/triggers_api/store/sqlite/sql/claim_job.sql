-- After the organization that had the last turn, ?2; from the first again behind the last.
SELECT id, organization_id, body, position, due_at, lease_token <> 4611686018427387904
FROM jobs INDEXED BY jobs_due
WHERE status = 0 AND due_at <= ?1 AND lease_until <= ?1
ORDER BY organization_id <= ?2, organization_id, due_at, id
LIMIT 1
