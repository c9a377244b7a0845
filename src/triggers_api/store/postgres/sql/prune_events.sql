-- $2: events that are held. Those go to which all that was to happen happened before $3: each was decided, and
-- what it was delivered by is finished; what is dead is kept from $5 on. $4: which row of the accounts to count in. One of which nothing tells what
-- became of it stays: it is what the books do not balance by.
WITH old AS MATERIALIZED (
    SELECT e.id, e.xid, e.place_in_table
    FROM unnest($2::uuid[]) AS i (id)
    CROSS JOIN LATERAL (
        SELECT e.id, e.xid, e.ctid AS place_in_table
        FROM events AS e
        WHERE e.organization_id = $1 AND e.id = i.id
        LIMIT 1
    ) AS e
    LEFT JOIN LATERAL (
        SELECT true AS waits
        FROM event_queue AS q
        WHERE q.organization_id = $1 AND q.event_id = e.id
        LIMIT 1
    ) AS q ON true
    LEFT JOIN LATERAL (
        SELECT s.status, s.status_at
        FROM event_states AS s
        WHERE s.organization_id = $1 AND s.event_id = e.id
        LIMIT 1
    ) AS s ON true
    CROSS JOIN LATERAL (
        SELECT coalesce(bool_or(d.origin = 0), false) AS routed,
               coalesce(bool_or(d.status IN (2, 4) OR d.status_at >= $3 OR d.status = 6 AND d.status_at >= $5), false) AS lives
        FROM deliveries AS d
        WHERE d.organization_id = $1 AND d.event_id = e.id
    ) AS d
    WHERE q.waits IS NULL AND NOT d.lives
      AND CASE WHEN s.status IS NULL THEN d.routed ELSE s.status IN (1, 5, 6) AND s.status_at < $3 END
),
delivered AS MATERIALIZED (
    SELECT d.id, d.place_in_table
    FROM old
    CROSS JOIN LATERAL (
        SELECT d.id, d.ctid AS place_in_table
        FROM deliveries AS d
        WHERE d.organization_id = $1 AND d.event_id = old.id
    ) AS d
),
tried AS (
    DELETE FROM attempts
    WHERE ctid = ANY (
        ARRAY(
            SELECT a.ctid
            FROM delivered AS d
            CROSS JOIN LATERAL (
                SELECT a.ctid FROM attempts AS a WHERE a.organization_id = $1 AND a.delivery_id = d.id
            ) AS a
        )
    )
    RETURNING 1
),
dead AS (
    DELETE FROM dead_letters
    WHERE ctid = ANY (
        ARRAY(
            SELECT l.ctid
            FROM delivered AS d
            CROSS JOIN LATERAL (
                SELECT l.ctid FROM dead_letters AS l WHERE l.organization_id = $1 AND l.delivery_id = d.id LIMIT 1
            ) AS l
        )
    )
),
gone_deliveries AS (
    DELETE FROM deliveries WHERE ctid = ANY (ARRAY(SELECT place_in_table FROM delivered)) RETURNING 1
),
told AS (
    DELETE FROM event_states
    WHERE ctid = ANY (
        ARRAY(
            SELECT s.ctid
            FROM old
            CROSS JOIN LATERAL (
                SELECT s.ctid FROM event_states AS s WHERE s.organization_id = $1 AND s.event_id = old.id LIMIT 1
            ) AS s
        )
    )
),
-- Who is just settling one in an inbox takes it out, or hands out what is not there any more and takes it out then.
handed_out AS (
    DELETE FROM inbox_items
    WHERE ctid = ANY (
        ARRAY(
            SELECT i.place_in_table
            FROM inboxes AS b
            CROSS JOIN old
            CROSS JOIN LATERAL (
                SELECT i.ctid AS place_in_table
                FROM inbox_items AS i
                WHERE i.organization_id = $1 AND i.cursor = b.cursor AND i.xid = old.xid AND i.event_id = old.id
                LIMIT 1
                FOR UPDATE OF i SKIP LOCKED
            ) AS i
            WHERE b.organization_id = $1
        )
    )
),
gone AS (
    DELETE FROM events WHERE ctid = ANY (ARRAY(SELECT place_in_table FROM old)) RETURNING 1
),
counts AS MATERIALIZED (
    SELECT (SELECT count(*) FROM gone) AS events, (SELECT count(*) FROM gone_deliveries) AS deliveries,
           (SELECT count(*) FROM tried) AS attempts
),
counted AS (
    INSERT INTO accounts AS a (organization_id, slot, events, deliveries, pruned)
    SELECT $1, $4::smallint, -events, -deliveries, events FROM counts WHERE events > 0
    ON CONFLICT (organization_id, slot) DO UPDATE
    SET events = a.events + excluded.events, deliveries = a.deliveries + excluded.deliveries,
        pruned = a.pruned + excluded.pruned
)
SELECT events, deliveries, attempts FROM counts
