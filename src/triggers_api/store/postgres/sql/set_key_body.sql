UPDATE api_keys SET body = $2, version = $3 WHERE id = $1
