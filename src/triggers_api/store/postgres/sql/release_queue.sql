-- $3 to $7: the events; when to try again (NULL: set aside), why, and how often it was tried.
WITH item AS MATERIALIZED (
    SELECT i.*
    FROM unnest($3::uuid[], $4::uuid[], $5::bigint[], $6::text[], $7::integer[])
         AS i (organization_id, event_id, not_before, reason, attempts)
),
held AS MATERIALIZED (
    SELECT i.*, q.place_in_table
    FROM item AS i
    CROSS JOIN LATERAL (
        SELECT q.ctid AS place_in_table
        FROM event_queue AS q
        WHERE q.organization_id = i.organization_id AND q.event_id = i.event_id
          AND q.lease_token = $1 AND q.lease_until > $2
        LIMIT 1
        FOR UPDATE OF q
    ) AS q
),
-- Nobody's again, and not to be claimed before the moment in lease_until.
waiting AS (
    UPDATE event_queue AS q
    SET lease_token = 0, lease_until = h.not_before
    FROM held AS h
    WHERE q.ctid = h.place_in_table AND h.not_before IS NOT NULL
),
gone AS (
    DELETE FROM event_queue
    WHERE ctid = ANY (ARRAY(SELECT place_in_table FROM held WHERE not_before IS NULL))
),
aside AS (
    INSERT INTO event_states (organization_id, event_id, status, status_at, reason, attempts)
    SELECT organization_id, event_id, 3, $2, reason, attempts FROM held WHERE not_before IS NULL
    ON CONFLICT (organization_id, event_id) DO UPDATE
    SET status = 3, status_at = excluded.status_at, reason = excluded.reason, attempts = excluded.attempts
)
SELECT event_id FROM held
