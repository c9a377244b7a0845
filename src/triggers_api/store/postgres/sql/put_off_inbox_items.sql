-- Until another moment, in the same hands ($9) or in nobody's, where the lease is valid; see ack_inbox_items.
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
        LIMIT 1
        FOR UPDATE OF r
    ) AS r
    WHERE b.organization_id = $1 AND b.name = $2
)
UPDATE inbox_items
SET available_at = $8, lease_token = CASE WHEN $9 THEN lease_token ELSE 0 END
WHERE ctid = ANY (ARRAY(SELECT place_in_table FROM held))
RETURNING event_id
