UPDATE inbox_items AS i
SET xid = e.xid
FROM events AS e
WHERE e.organization_id = i.organization_id AND e.id = i.event_id
