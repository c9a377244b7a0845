-- Whose turn it is, if they were waiting for it.
UPDATE deliveries SET due_at = ?2 WHERE id IN carray(?1) AND due_at = ?3
