UPDATE inboxes
SET cursor = gen_random_uuid(), position_xid = $3::text::xid8, position_id = $4
WHERE organization_id = $1 AND name = $2
RETURNING cursor
