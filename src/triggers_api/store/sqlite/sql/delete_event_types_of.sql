UPDATE event_types SET body = NULL, version = ?2 WHERE organization_id = ?1 AND body IS NOT NULL
