-- Finished ones before the newest ?2.
DELETE FROM jobs
WHERE organization_id = ?1 AND status <> 0
  AND id < (
      SELECT id FROM jobs INDEXED BY jobs_organization
      WHERE organization_id = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2
  )
