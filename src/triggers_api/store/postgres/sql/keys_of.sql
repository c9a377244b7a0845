SELECT id, body FROM api_keys WHERE organization_id = $1 ORDER BY id DESC
