-- How far the index is, and how many events come behind it, up to a number.
SELECT p.xid::text, p.event_id, p.parts, t.events
FROM search_progress AS p
CROSS JOIN LATERAL (
    SELECT count(*) AS events
    FROM (
        SELECT FROM events AS e
        WHERE e.organization_id = $1 AND e.xid >= p.xid AND (e.xid, e.id) > (p.xid, p.event_id)
        LIMIT $2
    ) AS e
) AS t
WHERE p.organization_id = $1
