SELECT status FROM events WHERE id = ?1 AND organization_id = ?2 AND status <> 6
