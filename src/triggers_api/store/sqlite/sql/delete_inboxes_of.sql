DELETE FROM inboxes WHERE organization_id = ?1
