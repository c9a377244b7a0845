UPDATE search_parts SET whole = ?2 WHERE id = ?1
