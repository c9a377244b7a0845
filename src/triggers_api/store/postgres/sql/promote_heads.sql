-- Whose turn it is in these lines, if it was waiting for it. The caller holds the lines.
UPDATE delivery_queue AS q
SET due_at = $4
WHERE q.ctid = ANY (
    ARRAY(
        SELECT h.place_in_table
        FROM unnest($1::uuid[], $2::uuid[], $3::text[]) AS l (organization_id, subscription_id, order_key)
        CROSS JOIN LATERAL (
            SELECT q.ctid AS place_in_table, q.due_at
            FROM delivery_queue AS q
            WHERE q.organization_id = l.organization_id AND q.subscription_id = l.subscription_id
              AND q.order_key = l.order_key
            ORDER BY q.sequence
            LIMIT 1
        ) AS h
        WHERE h.due_at = $5
    )
)
