SELECT id FROM deliveries WHERE organization_id = ?1 LIMIT ?2
