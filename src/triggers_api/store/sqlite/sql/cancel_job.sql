UPDATE jobs SET status = 2, body = ?2, lease_until = ?3, lease_token = ?4 WHERE id = ?1
