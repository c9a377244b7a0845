UPDATE api_keys SET body = $2 WHERE id = $1
