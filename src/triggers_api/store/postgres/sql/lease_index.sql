UPDATE search_lease
SET lease_until = $2, lease_token = $3
WHERE id = 1 AND (lease_until <= $1 OR lease_token = $3)
RETURNING lease_token
