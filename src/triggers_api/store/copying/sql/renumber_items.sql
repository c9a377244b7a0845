UPDATE inbox_items AS i
SET xid = e.xid
FROM renumbered AS r
JOIN events AS e ON e.organization_id = r.organization_id AND e.id = r.id
WHERE i.organization_id = r.organization_id AND i.event_id = r.id
