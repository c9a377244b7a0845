DELETE FROM inboxes WHERE organization_id = ?1 AND name = ?2
