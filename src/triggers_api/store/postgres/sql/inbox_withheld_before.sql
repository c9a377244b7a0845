-- Some of what is kept aside, behind an id, and whether it is up to a place; nobody releases it before the inbox has
-- its rows for it.
SELECT e.xid::text, e.id, e.type, (e.xid, e.id) <= ($2::text::xid8, $3)
FROM event_states AS s
CROSS JOIN LATERAL (
    SELECT e.xid, e.id, e.type FROM events AS e
    WHERE e.organization_id = s.organization_id AND e.id = s.event_id
    LIMIT 1
) AS e
WHERE s.organization_id = $1 AND s.status = 4 AND s.event_id > $4
ORDER BY s.event_id
LIMIT 1000
FOR SHARE OF s
