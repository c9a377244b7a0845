INSERT INTO search_parts (organization_id, number, first_id, last_id, bits, whole, ids, stale_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, (
    -- One that was deleted after it was read.
    SELECT $9::bigint
    FROM unnest($8::uuid[]) AS asked (id)
    CROSS JOIN LATERAL (
        SELECT e.payload IS NULL AS erased
        FROM events AS e
        WHERE e.organization_id = $1 AND e.id = asked.id
        LIMIT 1
    ) AS e
    WHERE e.erased
    LIMIT 1
))
