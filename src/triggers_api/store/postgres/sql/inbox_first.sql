SELECT id FROM events WHERE organization_id = $1 AND id >= $2 ORDER BY id LIMIT 1
