SELECT id FROM deliveries WHERE id IN carray(?1) AND organization_id = ?2 AND status = 6
