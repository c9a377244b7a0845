-- What is not acknowledged of what is up to a place.
SELECT i.xid::text, i.event_id, e.type, e.deliver_at, e.operational, e.state, e.queued, e.size, i.available_at,
       i.lease_token
FROM inbox_items AS i
CROSS JOIN LATERAL (
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
) AS e
WHERE i.organization_id = $1 AND i.cursor = $2
  AND (i.xid, i.event_id) > ($3::text::xid8, $4) AND (i.xid, i.event_id) <= ($5::text::xid8, $6)
  AND i.available_at IS NOT NULL
ORDER BY i.xid, i.event_id
LIMIT $7
