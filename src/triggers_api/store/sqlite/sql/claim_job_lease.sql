UPDATE jobs SET lease_until = ?2, lease_token = ?3 WHERE id = ?1
