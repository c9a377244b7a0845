SELECT min(available_at) FROM inbox_items INDEXED BY inbox_items_available WHERE cursor = ?1 AND available_at > ?2
