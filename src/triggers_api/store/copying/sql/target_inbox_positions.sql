-- Events were stored in their order: the last one up to a position is where it is.
UPDATE inboxes AS b
SET position_xid = e.xid, position_id = e.id
FROM inboxes AS o
CROSS JOIN LATERAL (
    SELECT e.xid, e.id
    FROM events AS e
    WHERE e.organization_id = o.organization_id AND e.id <= o.position_id
    ORDER BY e.id DESC
    LIMIT 1
) AS e
WHERE b.organization_id = o.organization_id AND b.name = o.name
