-- Of rows that nobody else changes: the inbox is held, and so are those of them that were leased.
DELETE FROM inbox_items
WHERE ctid = ANY (ARRAY(
    SELECT r.place_in_table
    FROM unnest($3::text[], $4::uuid[]) AS i (xid, event_id)
    CROSS JOIN LATERAL (
        SELECT r.ctid AS place_in_table
        FROM inbox_items AS r
        WHERE r.organization_id = $1 AND r.cursor = $2 AND r.xid = i.xid::xid8 AND r.event_id = i.event_id
        LIMIT 1
    ) AS r
))
