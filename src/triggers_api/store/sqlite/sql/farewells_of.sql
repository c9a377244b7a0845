SELECT 1 FROM farewells WHERE organization_id = ?1 LIMIT 1
