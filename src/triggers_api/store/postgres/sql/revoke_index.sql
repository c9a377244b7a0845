UPDATE search_lease SET lease_until = 0, lease_token = 0 WHERE id = 1
