DELETE FROM search_parts WHERE organization_id = $1 AND number = $2
