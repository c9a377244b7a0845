-- To the last event that it was not before; where that is gone, before all that were renumbered.
UPDATE inboxes AS p
SET position_xid = coalesce(n.xid, $1::text::xid8), position_id = coalesce(n.id, p.position_id)
FROM inboxes AS w
LEFT JOIN LATERAL (
    SELECT e.xid, e.id
    FROM renumbered AS r
    JOIN events AS e ON e.organization_id = r.organization_id AND e.id = r.id
    WHERE r.organization_id = w.organization_id AND (r.old, r.id) <= (w.position_xid, w.position_id)
    ORDER BY r.old DESC, r.id DESC
    LIMIT 1
) AS n ON true
WHERE p.organization_id = w.organization_id AND p.cursor = w.cursor AND w.position_xid >= $1::text::xid8
