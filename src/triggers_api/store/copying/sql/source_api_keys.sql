SELECT id, organization_id, digest, body FROM api_keys
