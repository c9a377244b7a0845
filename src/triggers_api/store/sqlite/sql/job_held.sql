SELECT body FROM jobs
WHERE id = ?1 AND organization_id = ?2 AND status = 0 AND lease_token = ?3 AND lease_until > ?4
