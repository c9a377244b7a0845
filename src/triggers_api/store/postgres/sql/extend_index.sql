UPDATE search_lease SET lease_until = $2 WHERE id = 1 AND lease_token = $1 AND lease_until > $3
RETURNING lease_token
