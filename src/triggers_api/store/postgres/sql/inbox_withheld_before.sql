-- Up to a place, what is kept aside; nobody releases it before the inbox has its rows for it.
SELECT e.xid::text, e.id, e.type
FROM event_states AS s
CROSS JOIN LATERAL (
    SELECT e.xid, e.id, e.type
    FROM events AS e
    WHERE e.organization_id = s.organization_id AND e.id = s.event_id AND NOT e.operational
    LIMIT 1
) AS e
WHERE s.organization_id = $1 AND s.status = 4 AND (e.xid, e.id) <= ($2::text::xid8, $3)
FOR SHARE OF s
