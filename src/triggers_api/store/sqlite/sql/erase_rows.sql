DELETE FROM {table} WHERE organization_id = ?1
