UPDATE organizations SET body = ?2 WHERE id = ?1
