SELECT id FROM events WHERE organization_id = ?1 LIMIT ?2
