-- Deleted ones included.
SELECT id FROM organizations WHERE id >= $1 ORDER BY id LIMIT $2
