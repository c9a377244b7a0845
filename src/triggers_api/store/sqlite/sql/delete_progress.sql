DELETE FROM search_progress WHERE organization_id = ?1
