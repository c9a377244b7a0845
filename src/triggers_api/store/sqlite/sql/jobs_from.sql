SELECT id, status <> 0, body FROM jobs WHERE id > ?1 ORDER BY id LIMIT ?2
