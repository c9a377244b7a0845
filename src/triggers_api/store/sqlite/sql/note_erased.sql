UPDATE erasures SET events = events + ?2, deliveries = deliveries + ?3 WHERE organization_id = ?1
