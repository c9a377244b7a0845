SELECT position FROM search_progress WHERE organization_id = :organization_id
