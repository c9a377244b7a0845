-- What was chosen, in the order given, until their payloads reach $6 bytes. $1: their places in the table.
WITH chosen AS MATERIALIZED (
    SELECT i.place_in_table, i.place, i.organization_id, i.delivery_id, d.event_id, d.attempt_count,
           d.attempt_base, e.type, e.occurred_at, e.payload, e.source, e.key, e.dedup_id, e.metadata,
           e.operational, d.origin, d.sequence,
           sum(octet_length(e.payload)) OVER (ORDER BY i.place) - octet_length(e.payload) AS bytes_before
    FROM unnest($1::tid[], $2::uuid[], $3::uuid[]) WITH ORDINALITY
         AS i (place_in_table, organization_id, delivery_id, place)
    CROSS JOIN LATERAL (
        SELECT d.event_id, d.attempt_count, d.attempt_base, d.origin, d.sequence
        FROM deliveries AS d
        WHERE d.organization_id = i.organization_id AND d.id = i.delivery_id
        LIMIT 1
    ) AS d
    CROSS JOIN LATERAL (
        SELECT e.type, e.occurred_at, e.payload, e.source, e.key, e.dedup_id, e.metadata, e.operational
        FROM events AS e
        WHERE e.organization_id = i.organization_id AND e.id = d.event_id
        LIMIT 1
    ) AS e
),
leased AS (
    UPDATE delivery_queue AS q
    SET lease_token = $4, lease_until = $5
    WHERE q.ctid = ANY (ARRAY(SELECT place_in_table FROM chosen WHERE bytes_before < $6))
    RETURNING q.organization_id, q.delivery_id
)
SELECT c.place, c.event_id, c.attempt_count, c.attempt_base, c.type, c.occurred_at, c.payload, c.source, c.key,
       c.dedup_id, c.metadata, c.operational, c.origin, c.sequence
FROM chosen AS c
JOIN leased AS l ON l.organization_id = c.organization_id AND l.delivery_id = c.delivery_id
ORDER BY c.place
