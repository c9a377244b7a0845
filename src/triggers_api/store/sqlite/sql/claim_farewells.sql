-- The lease is in due_at: who settles must name it.
UPDATE farewells
SET due_at = ?3, attempts = attempts + 1
WHERE subscription_id IN (
    SELECT subscription_id FROM farewells
    WHERE due_at <= ?1 AND organization_id NOT IN carray(?4)
    ORDER BY due_at LIMIT ?2
)
RETURNING subscription_id, due_at, attempts
