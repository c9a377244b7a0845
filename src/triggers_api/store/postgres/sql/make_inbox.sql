INSERT INTO inboxes (organization_id, name, cursor, types, position_xid, position_id, created_at)
VALUES ($1, $2, gen_random_uuid(), $3, '0', '00000000-0000-0000-0000-000000000000', $4)
ON CONFLICT (organization_id, name) DO NOTHING
