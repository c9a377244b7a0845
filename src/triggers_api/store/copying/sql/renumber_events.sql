UPDATE events AS e
SET xid = ($1::numeric + 1 + coalesce(r.run, 0))::text::xid8
FROM renumbered AS r
WHERE e.organization_id = r.organization_id AND e.id = r.id
