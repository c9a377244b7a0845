SELECT id FROM search_parts WHERE organization_id = ?1 LIMIT ?2
