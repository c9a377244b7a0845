SELECT count(*) FROM jobs INDEXED BY jobs_organization WHERE organization_id = ?1 AND status = 0
