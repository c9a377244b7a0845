-- One probe at a time: the next one may be made when this one's lease has run out. Returns those who may send
-- it; for the others somebody else was quicker, or is at the row now.
WITH lane AS MATERIALIZED (
    SELECT h.ctid AS place_in_table, h.organization_id, h.subscription_id
    FROM unnest($1::uuid[], $2::uuid[]) AS l (organization_id, subscription_id)
    CROSS JOIN LATERAL (
        SELECT h.ctid, h.organization_id, h.subscription_id
        FROM endpoint_health AS h
        WHERE h.organization_id = l.organization_id AND h.subscription_id = l.subscription_id
          AND h.opened > 0 AND h.open_until <= $3
        LIMIT 1
        FOR UPDATE OF h SKIP LOCKED
    ) AS h
)
UPDATE endpoint_health AS h
SET open_until = $4
WHERE h.ctid = ANY (ARRAY(SELECT place_in_table FROM lane))
RETURNING h.subscription_id
