SELECT id, organization_id, body FROM notices ORDER BY noticed_at, id LIMIT ?1
