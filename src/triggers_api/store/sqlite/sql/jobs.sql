SELECT body FROM jobs INDEXED BY jobs_organization
WHERE organization_id = ?1 AND id < ?2
ORDER BY id DESC
LIMIT ?3
