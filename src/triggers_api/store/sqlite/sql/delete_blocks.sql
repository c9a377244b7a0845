DELETE FROM search_blocks WHERE id >= ?1 AND id < ?2
