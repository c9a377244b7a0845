-- Done with, where the position is behind it and the lease is valid. Nobody waits for the inbox for that. A row
-- that changed since the snapshot is not among those that are returned: it is looked at with the inbox held.
-- Each by its key: said with coalesce, the lease does not tempt the planner to go along inbox_items_available, all of
-- what is leased for every row, once that index was counted while it was nearly empty.
WITH held AS MATERIALIZED (
    SELECT r.place_in_table
    FROM inboxes AS b
    JOIN unnest($3::uuid[], $4::text[], $5::uuid[], $6::bigint[]) AS i (cursor, xid, event_id, token)
        ON i.cursor = b.cursor
    CROSS JOIN LATERAL (
        SELECT r.ctid AS place_in_table
        FROM inbox_items AS r
        WHERE r.organization_id = $1 AND r.cursor = i.cursor AND r.xid = i.xid::xid8 AND r.event_id = i.event_id
          AND r.lease_token = i.token AND coalesce(r.available_at, 0) > $7
          AND (r.xid, r.event_id) <= (b.position_xid, b.position_id)
        LIMIT 1
        FOR UPDATE OF r
    ) AS r
    WHERE b.organization_id = $1 AND b.name = $2
)
DELETE FROM inbox_items WHERE ctid = ANY (ARRAY(SELECT place_in_table FROM held)) RETURNING event_id
