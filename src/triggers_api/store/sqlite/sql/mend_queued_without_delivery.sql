UPDATE deliveries SET due_at = NULL
WHERE id IN (SELECT id FROM deliveries WHERE status NOT IN (2, 3, 4) AND due_at IS NOT NULL LIMIT ?1)
