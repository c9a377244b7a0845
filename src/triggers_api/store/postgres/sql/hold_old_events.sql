-- $4 events of an organization behind $2, in the order of their receipt, of those received before $3. They are
-- held, and passed over where somebody else holds one: nobody opens a delivery of them or makes another.
WITH seen AS MATERIALIZED (
    SELECT e.id
    FROM events AS e
    WHERE e.organization_id = $1 AND e.id > $2 AND e.id < $3
    ORDER BY e.id
    LIMIT $4
),
held AS MATERIALIZED (
    SELECT e.id
    FROM seen AS s
    CROSS JOIN LATERAL (
        SELECT e.id
        FROM events AS e
        WHERE e.organization_id = $1 AND e.id = s.id
        LIMIT 1
        FOR UPDATE OF e SKIP LOCKED
    ) AS e
)
SELECT (SELECT count(*) FROM seen), (SELECT id FROM seen ORDER BY id DESC LIMIT 1),
       coalesce((SELECT array_agg(id) FROM held), '{}')
