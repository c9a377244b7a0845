SELECT id FROM events WHERE organization_id = ?1 AND dedup_id = ?2
