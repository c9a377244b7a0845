-- What was withheld when inboxes passed it can be seen from now on. Asked after the events were changed, in the
-- same transaction: an inbox that passes them now waits, and sees what they have become.
UPDATE inbox_items
SET available_at = $3
WHERE ctid = ANY (ARRAY(
    SELECT r.place_in_table
    FROM inboxes AS b
    CROSS JOIN unnest($2::uuid[]) AS i (id)
    CROSS JOIN LATERAL (
        SELECT e.xid FROM events AS e WHERE e.organization_id = $1 AND e.id = i.id LIMIT 1
    ) AS e
    CROSS JOIN LATERAL (
        SELECT r.ctid AS place_in_table, r.available_at
        FROM inbox_items AS r
        WHERE r.organization_id = $1 AND r.cursor = b.cursor AND r.xid = e.xid AND r.event_id = i.id
        LIMIT 1
    ) AS r
    WHERE b.organization_id = $1 AND r.available_at = $4
))
