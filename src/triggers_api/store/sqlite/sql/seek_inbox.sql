UPDATE inboxes SET cursor = ?3, position = ?4 WHERE organization_id = ?1 AND name = ?2
