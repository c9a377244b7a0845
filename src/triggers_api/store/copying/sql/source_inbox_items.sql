SELECT b.organization_id, i.cursor, i.event_id, i.available_at, i.lease_token, i.receive_count
FROM inboxes AS b
CROSS JOIN inbox_items AS i ON i.cursor = b.cursor
