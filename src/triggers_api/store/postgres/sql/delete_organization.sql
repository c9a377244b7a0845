UPDATE organizations SET deleted_at = $2, version = $3 WHERE id = $1 AND deleted_at IS NULL
RETURNING id
