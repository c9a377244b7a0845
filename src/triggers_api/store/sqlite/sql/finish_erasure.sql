UPDATE erasures SET finished_at = ?2 WHERE organization_id = ?1
