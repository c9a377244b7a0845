SELECT 1 FROM logouts WHERE session = ?1
