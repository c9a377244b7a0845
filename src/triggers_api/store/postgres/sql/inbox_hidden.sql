-- Up to a place, what is scheduled.
SELECT e.xid::text, e.id, e.type, e.deliver_at
FROM event_queue AS q
CROSS JOIN LATERAL (
    SELECT e.xid, e.id, e.type, e.deliver_at
    FROM events AS e
    WHERE e.organization_id = $1 AND e.id = q.event_id AND NOT e.operational
    LIMIT 1
) AS e
WHERE q.organization_id = $1 AND q.due_at > $4 AND e.deliver_at > $4
  AND (e.xid, e.id) <= ($2::text::xid8, $3)
