SELECT r.xid::text, r.event_id, r.available_at, r.lease_token, r.receive_count
FROM unnest($3::text[], $4::uuid[]) AS i (xid, event_id)
CROSS JOIN LATERAL (
    SELECT r.*
    FROM inbox_items AS r
    WHERE r.organization_id = $1 AND r.cursor = $2 AND r.xid = i.xid::xid8 AND r.event_id = i.event_id
    LIMIT 1
    FOR UPDATE
) AS r
