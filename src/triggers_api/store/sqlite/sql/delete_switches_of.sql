DELETE FROM switches WHERE organization_id = ?1
