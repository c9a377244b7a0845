UPDATE farewells SET due_at = $4 WHERE organization_id = $1 AND subscription_id = $2 AND due_at = $3
RETURNING subscription_id
