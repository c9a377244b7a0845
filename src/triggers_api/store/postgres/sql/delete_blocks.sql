DELETE FROM search_blocks WHERE organization_id = $1 AND part = $2
