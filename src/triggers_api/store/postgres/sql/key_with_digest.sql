SELECT body FROM api_keys WHERE digest = $1
