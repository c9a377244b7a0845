INSERT INTO inbox_items AS r (organization_id, cursor, xid, event_id, available_at, lease_token, receive_count)
SELECT $1, $2, i.xid::xid8, i.event_id, i.available_at, i.lease_token, i.receive_count
FROM unnest($3::text[], $4::uuid[], $5::bigint[], $6::bigint[], $7::integer[])
    AS i (xid, event_id, available_at, lease_token, receive_count)
ON CONFLICT (organization_id, cursor, xid, event_id) DO UPDATE
SET available_at = excluded.available_at, lease_token = excluded.lease_token,
    receive_count = excluded.receive_count
