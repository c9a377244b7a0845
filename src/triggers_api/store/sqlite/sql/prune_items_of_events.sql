DELETE FROM inbox_items
WHERE event_id IN carray(?2) AND cursor IN (SELECT cursor FROM inboxes WHERE organization_id = ?1)
