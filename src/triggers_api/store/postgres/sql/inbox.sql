SELECT name, cursor, types, position_xid::text, position_id, created_at
FROM inboxes
WHERE organization_id = $1 AND name = $2
