SELECT body FROM api_keys WHERE id = ?1 AND organization_id IS ?2
