UPDATE jobs SET status = 2 WHERE organization_id = ?1 AND status = 0
