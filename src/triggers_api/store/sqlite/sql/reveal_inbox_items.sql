-- What was withheld when inboxes passed it can be seen from now on.
UPDATE inbox_items SET available_at = ?3
WHERE event_id IN carray(?2) AND available_at = ?4
  AND cursor IN (SELECT cursor FROM inboxes WHERE organization_id = ?1)
