DELETE FROM farewells WHERE subscription_id = ?1
