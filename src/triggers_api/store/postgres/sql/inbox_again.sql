-- What waits to be handed out again, the longest first. What somebody is just settling is passed by.
SELECT i.available_at, i.xid::text, i.event_id, i.receive_count, e.type, e.deliver_at, e.operational, e.state,
       e.queued, e.size
FROM (
    SELECT i.available_at, i.xid, i.event_id, i.receive_count
    FROM inbox_items AS i
    WHERE i.organization_id = $1 AND i.cursor = $2 AND i.available_at <= $3
      AND (i.available_at, i.xid, i.event_id) > ($4, $5::text::xid8, $6)
    ORDER BY i.available_at, i.xid, i.event_id
    LIMIT $7
    FOR UPDATE OF i SKIP LOCKED
) AS i
LEFT JOIN LATERAL (
    SELECT e.type, e.deliver_at, e.operational, octet_length(e.payload) AS size,
           (
               SELECT s.status FROM event_states AS s WHERE s.organization_id = $1 AND s.event_id = e.id
           ) AS state,
           EXISTS (
               SELECT FROM event_queue AS q WHERE q.organization_id = $1 AND q.event_id = e.id
           ) AS queued
    FROM events AS e
    WHERE e.organization_id = $1 AND e.id = i.event_id
    LIMIT 1
) AS e ON true
ORDER BY i.available_at, i.xid, i.event_id
