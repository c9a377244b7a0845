-- To the last event that it was not before; where that is gone, before all that were renumbered.
UPDATE search_progress AS p
SET xid = coalesce(n.xid, $1::text::xid8), event_id = coalesce(n.id, p.event_id)
FROM search_progress AS w
LEFT JOIN LATERAL (
    SELECT e.xid, e.id
    FROM renumbered AS r
    JOIN events AS e ON e.organization_id = r.organization_id AND e.id = r.id
    WHERE r.organization_id = w.organization_id AND (r.old, r.id) <= (w.xid, w.event_id)
    ORDER BY r.old DESC, r.id DESC
    LIMIT 1
) AS n ON true
WHERE p.organization_id = w.organization_id AND w.xid >= $1::text::xid8
