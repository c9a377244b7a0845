SELECT organization_id, subscription_id, due_at, attempts FROM farewells
