-- $5 attempts of an organization behind ($2, $3), in the order in which their deliveries were made: no delivery
-- made since $4 has an attempt from before $6. Those are deleted that began before and whose delivery is
-- finished. Its row is held, so that a retry by hand does not open it meanwhile.
WITH seen AS MATERIALIZED (
    SELECT a.ctid AS place_in_table, a.delivery_id, a.number, a.started_at
    FROM attempts AS a
    WHERE a.organization_id = $1 AND (a.delivery_id, a.number) > ($2, $3) AND a.delivery_id < $4
    ORDER BY a.delivery_id, a.number
    LIMIT $5
),
finished AS MATERIALIZED (
    SELECT d.id
    FROM (SELECT DISTINCT delivery_id FROM seen WHERE started_at < $6) AS s
    CROSS JOIN LATERAL (
        SELECT d.id
        FROM deliveries AS d
        WHERE d.organization_id = $1 AND d.id = s.delivery_id AND d.status NOT IN (2, 4)
        LIMIT 1
        FOR NO KEY UPDATE OF d SKIP LOCKED
    ) AS d
),
gone AS (
    DELETE FROM attempts
    WHERE ctid = ANY (
        ARRAY(
            SELECT s.place_in_table
            FROM seen AS s
            JOIN finished AS f ON f.id = s.delivery_id
            WHERE s.started_at < $6
        )
    )
    RETURNING number
)
SELECT (SELECT count(*) FROM gone), (SELECT count(*) FROM seen), last.delivery_id, last.number
FROM (SELECT 1) AS always
LEFT JOIN (
    SELECT delivery_id, number FROM seen ORDER BY delivery_id DESC, number DESC LIMIT 1
) AS last ON true
