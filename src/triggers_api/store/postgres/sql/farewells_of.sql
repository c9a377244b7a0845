SELECT EXISTS (SELECT FROM farewells WHERE organization_id = $1)
