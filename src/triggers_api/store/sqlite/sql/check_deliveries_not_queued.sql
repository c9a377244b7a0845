SELECT id FROM deliveries WHERE status IN (2, 3, 4) AND due_at IS NULL LIMIT ?1
