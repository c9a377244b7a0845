-- Places in the lines of deliveries that are about to be stored, and the locks of these lines until the end
-- of the transaction. $3 and $4: the events, of which those that are claimed under $1 count ($1 NULL: all);
-- $5 to $8: the deliveries, in the order in which they are to go out.
WITH item AS MATERIALIZED (
    SELECT i.* FROM unnest($3::uuid[], $4::uuid[]) AS i (organization_id, event_id)
),
held AS MATERIALIZED (
    SELECT i.organization_id, i.event_id
    FROM item AS i
    CROSS JOIN LATERAL (
        SELECT
        FROM event_queue AS q
        WHERE q.organization_id = i.organization_id AND q.event_id = i.event_id
          AND q.lease_token = $1 AND q.lease_until > $2
        LIMIT 1
        FOR UPDATE OF q
    ) AS q
    WHERE $1 IS NOT NULL
    UNION ALL
    SELECT organization_id, event_id FROM item WHERE $1 IS NULL
),
-- One that was routed before has its place.
wanted AS MATERIALIZED (
    SELECT h.organization_id, w.*
    FROM unnest($5::uuid[], $6::uuid[], $7::uuid[], $8::text[])
         WITH ORDINALITY AS w (id, event_id, subscription_id, order_key, turn)
    JOIN held AS h ON h.event_id = w.event_id
    WHERE NOT EXISTS (
        SELECT
        FROM (
            SELECT d.subscription_id, d.origin_id
            FROM deliveries AS d
            WHERE d.organization_id = h.organization_id AND d.event_id = w.event_id
            OFFSET 0
        ) AS d
        WHERE d.subscription_id = w.subscription_id
          AND d.origin_id = '00000000-0000-0000-0000-000000000000'
    )
),
given AS (
    INSERT INTO order_keys AS k (organization_id, subscription_id, order_key, sequence)
    SELECT organization_id, subscription_id, order_key, count(*)
    FROM wanted
    GROUP BY organization_id, subscription_id, order_key
    ORDER BY organization_id, subscription_id, order_key COLLATE "C"
    ON CONFLICT (organization_id, subscription_id, order_key)
    DO UPDATE SET sequence = k.sequence + excluded.sequence
    RETURNING organization_id, subscription_id, order_key, sequence
)
SELECT w.id,
       g.sequence - count(*) OVER line + row_number() OVER (line ORDER BY w.turn),
       row_number() OVER (line ORDER BY w.turn) = 1
FROM wanted AS w
JOIN given AS g USING (organization_id, subscription_id, order_key)
WINDOW line AS (PARTITION BY w.organization_id, w.subscription_id, w.order_key)
