-- State and attempt together, for rows whose lease is still the one that was given out. $2 to $7: the
-- outcomes; a due moment says that it waits on. $8 to $15: the attempts, NULL where none was made.
-- Without $16 nothing is changed if there is something on file about the health of one of their endpoints,
-- which is to be changed with them, or if one that would end is in a line: with it the caller holds the lines.
WITH item AS MATERIALIZED (
    SELECT i.*
    FROM unnest(
        $2::uuid[], $3::uuid[], $4::bigint[], $5::smallint[], $6::bigint[], $7::text[], $8::uuid[],
        $9::integer[], $10::bigint[], $11::integer[], $12::integer[], $13::text[], $14::bytea[],
        $15::bytea[]
    ) AS i (
        organization_id, delivery_id, token, status, due_at, reason, attempt_id,
        number, started_at, duration_ms, status_code, error, response_body, details
    )
),
found AS MATERIALIZED (
    SELECT i.*, q.subscription_id, q.order_key, q.place_in_table, d.place_in_record
    FROM item AS i
    CROSS JOIN LATERAL (
        SELECT q.ctid AS place_in_table, q.subscription_id, q.order_key
        FROM delivery_queue AS q
        WHERE q.organization_id = i.organization_id AND q.delivery_id = i.delivery_id
          AND q.lease_token = i.token AND q.lease_until > $1
        LIMIT 1
        FOR UPDATE OF q
    ) AS q
    CROSS JOIN LATERAL (
        SELECT d.ctid AS place_in_record
        FROM deliveries AS d
        WHERE d.organization_id = i.organization_id AND d.id = i.delivery_id
        LIMIT 1
    ) AS d
),
held AS MATERIALIZED (
    SELECT *
    FROM found
    WHERE $16 OR NOT EXISTS (
        SELECT FROM found AS f
        CROSS JOIN LATERAL (
            SELECT FROM endpoint_health AS h
            WHERE h.organization_id = f.organization_id AND h.subscription_id = f.subscription_id
            LIMIT 1
        ) AS h
        WHERE f.attempt_id IS NOT NULL
    ) AND NOT EXISTS (SELECT FROM found WHERE order_key IS NOT NULL AND due_at IS NULL)
),
recorded AS (
    UPDATE deliveries AS d
    SET status = h.status, status_at = $1, attempt_count = coalesce(h.number, d.attempt_count),
        reason = h.reason
    FROM held AS h
    WHERE d.ctid = h.place_in_record
),
tried AS (
    INSERT INTO attempts (
        organization_id, delivery_id, number, id, started_at, duration_ms, status_code, error, response_body,
        details
    )
    SELECT organization_id, delivery_id, number, attempt_id, started_at, duration_ms, status_code, error,
           response_body, details
    FROM held
    WHERE attempt_id IS NOT NULL
),
finished AS (
    DELETE FROM delivery_queue
    WHERE ctid = ANY (ARRAY(SELECT place_in_table FROM held WHERE due_at IS NULL))
),
waiting AS (
    UPDATE delivery_queue AS q
    SET due_at = h.due_at, lease_token = 0, lease_until = $1,
        priority = CASE h.status WHEN 4 THEN 1 ELSE q.priority END
    FROM held AS h
    WHERE q.ctid = h.place_in_table AND h.due_at IS NOT NULL
),
dead AS (
    INSERT INTO dead_letters (organization_id, delivery_id, subscription_id, error_class)
    SELECT organization_id, delivery_id, subscription_id,
           CASE WHEN starts_with(reason, 'receiver answered ') THEN substr(reason, 19, 3)
                WHEN strpos(reason, ':') > 1 THEN left(split_part(reason, ':', 1), 40)
                ELSE 'other' END
    FROM held
    WHERE status = 6
)
SELECT f.delivery_id, f.token, f.subscription_id, EXISTS (SELECT FROM held) AS done FROM found AS f
