SELECT id FROM events WHERE id = ?1 AND organization_id = ?2
