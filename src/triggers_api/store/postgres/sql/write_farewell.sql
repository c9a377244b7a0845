INSERT INTO farewells (organization_id, subscription_id, due_at, attempts) VALUES ($1, $2, $3, 0)
ON CONFLICT (organization_id, subscription_id) DO UPDATE SET due_at = $3, attempts = 0
