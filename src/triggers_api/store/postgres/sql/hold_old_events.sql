-- $4 events of an organization behind $2, in the order of their receipt, of those received before $3. Those that
-- may go, as far as can be seen, are held, and passed over where somebody else holds one: nobody opens a delivery
-- of them or makes another. To hold a row is to write it: what stays for long is not held again and again.
WITH seen AS MATERIALIZED (
    SELECT e.id
    FROM events AS e
    WHERE e.organization_id = $1 AND e.id > $2 AND e.id < $3
    ORDER BY e.id
    LIMIT $4
),
ripe AS MATERIALIZED (
    SELECT s.id
    FROM seen AS s
    LEFT JOIN LATERAL (
        SELECT true AS waits
        FROM event_queue AS q
        WHERE q.organization_id = $1 AND q.event_id = s.id
        LIMIT 1
    ) AS q ON true
    LEFT JOIN LATERAL (
        SELECT t.status IN (3, 4) OR t.status_at >= $5 AS stays
        FROM event_states AS t
        WHERE t.organization_id = $1 AND t.event_id = s.id
        LIMIT 1
    ) AS t ON true
    CROSS JOIN LATERAL (
        SELECT coalesce(bool_or(d.status IN (2, 4) OR d.status_at >= $5 OR d.status = 6 AND d.status_at >= $6), false) AS lives
        FROM deliveries AS d
        WHERE d.organization_id = $1 AND d.event_id = s.id
    ) AS d
    WHERE q.waits IS NULL AND t.stays IS NOT TRUE AND NOT d.lives
),
held AS MATERIALIZED (
    SELECT e.id
    FROM ripe AS r
    CROSS JOIN LATERAL (
        SELECT e.id
        FROM events AS e
        WHERE e.organization_id = $1 AND e.id = r.id
        LIMIT 1
        FOR UPDATE OF e SKIP LOCKED
    ) AS e
)
SELECT (SELECT count(*) FROM seen), (SELECT id FROM seen ORDER BY id DESC LIMIT 1),
       coalesce((SELECT array_agg(id) FROM held), '{}')
