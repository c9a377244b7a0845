SELECT organization_id, digest, body FROM api_keys WHERE version > $1
