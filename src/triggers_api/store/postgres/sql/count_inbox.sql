-- Up to the position ($3, $4) by the rows, beyond it along the log; $5: how many to look at; $7: patterns for
-- LIKE, NULL: all.
WITH open AS MATERIALIZED (
    SELECT i.xid, i.event_id, i.available_at, i.lease_token
    FROM inbox_items AS i
    WHERE i.organization_id = $1 AND i.cursor = $2
      AND (i.xid, i.event_id) <= ($3::text::xid8, $4)
      AND i.available_at IS NOT NULL
    ORDER BY i.xid, i.event_id
    LIMIT $5
),
ahead AS MATERIALIZED (
    SELECT e.xid, e.id, e.type, e.operational, e.deliver_at
    FROM events AS e
    WHERE e.organization_id = $1 AND e.xid >= $3::text::xid8 AND (e.xid, e.id) > ($3::text::xid8, $4)
      AND e.xid < pg_snapshot_xmin(pg_current_snapshot())
    ORDER BY e.xid, e.id
    LIMIT greatest($5 - (SELECT count(*) FROM open), 0)
),
item AS (
    SELECT o.xid, o.event_id AS id, o.available_at, o.lease_token, e.deliver_at, e.id IS NOT NULL AS wanted
    FROM open AS o
    LEFT JOIN LATERAL (
        SELECT e.id, e.deliver_at FROM events AS e WHERE e.organization_id = $1 AND e.id = o.event_id LIMIT 1
    ) AS e ON true
    UNION ALL
    SELECT a.xid, a.id, i.available_at, i.lease_token, a.deliver_at,
           NOT a.operational AND CASE
               WHEN i.event_id IS NOT NULL THEN i.available_at IS NOT NULL
               ELSE $7::text[] IS NULL OR a.type LIKE ANY ($7) END
    FROM ahead AS a
    LEFT JOIN LATERAL (
        SELECT i.event_id, i.available_at, i.lease_token
        FROM inbox_items AS i
        WHERE i.organization_id = $1 AND i.cursor = $2 AND i.xid = a.xid AND i.event_id = a.id
        LIMIT 1
    ) AS i ON true
),
seen AS (
    SELECT i.*
    FROM item AS i
    WHERE i.wanted
      AND NOT EXISTS (
          SELECT
          FROM event_states AS s
          WHERE s.organization_id = $1 AND s.event_id = i.id AND s.status IN (4, 5, 6)
      )
      AND (
          i.deliver_at IS NULL OR i.deliver_at <= $6
          -- Looked up for each: NOT EXISTS may be answered by reading the whole queue.
          OR (
              SELECT q.event_id FROM event_queue AS q WHERE q.organization_id = $1 AND q.event_id = i.id LIMIT 1
          ) IS NULL
      )
)
SELECT (SELECT count(*) FROM item), count(*), count(*) FILTER (WHERE lease_token <> 0 AND available_at > $6),
       (array_agg(id ORDER BY xid, id))[1]
FROM seen
