UPDATE farewells SET due_at = ?3 WHERE subscription_id = ?1 AND due_at = ?2 RETURNING subscription_id
