UPDATE search_parts
SET bits = ?2, whole = ?3, stale_at = iif(stale_at > ?4, stale_at, NULL)
WHERE id = ?1
RETURNING id
