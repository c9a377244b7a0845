UPDATE inboxes SET position = ?3 WHERE organization_id = ?1 AND name = ?2
