INSERT INTO search_progress (organization_id, xid, event_id, parts)
VALUES ($1, $2::text::xid8, $3, CASE WHEN $4 THEN 1 ELSE 0 END)
ON CONFLICT (organization_id) DO UPDATE
SET xid = excluded.xid, event_id = excluded.event_id, parts = search_progress.parts + excluded.parts
RETURNING parts
