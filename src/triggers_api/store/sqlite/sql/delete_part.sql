DELETE FROM search_parts WHERE id = ?1
