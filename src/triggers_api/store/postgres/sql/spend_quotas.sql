-- For each organization in $1: events a minute, burst, debt, how many more are needed and wanted. The rows are
-- locked in the order of their ids before the clock is read, so that it never goes back for a row.
WITH item AS MATERIALIZED (
    SELECT i.*
    FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[])
        AS i (organization_id, per_minute, burst, debt, need, want)
),
held AS MATERIALIZED (
    SELECT q.organization_id, q.level, q.at_us
    FROM quotas AS q
    WHERE q.organization_id = ANY($1::uuid[])
    ORDER BY q.organization_id
    FOR UPDATE
),
moment AS MATERIALIZED (
    SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS now
    FROM (SELECT count(*) FROM held) AS locked
),
owed AS MATERIALIZED (
    SELECT i.*, greatest(h.at_us, m.now) AS now,
           -- What would have leaked out in all that time may be more than a number holds.
           greatest(
               CASE WHEN m.now - h.at_us > h.level / i.per_minute THEN 0
                    ELSE h.level - greatest(m.now - h.at_us, 0) * i.per_minute END
               + i.debt * 60000000, 0) AS level
    FROM item AS i
    JOIN held AS h USING (organization_id)
    CROSS JOIN moment AS m
),
decided AS MATERIALIZED (
    SELECT o.organization_id, o.now, o.level,
           CASE WHEN f.free >= o.need THEN least(o.want, f.free) ELSE 0 END AS granted
    FROM owed AS o
    CROSS JOIN LATERAL (
        SELECT greatest(o.burst * 60000000 - o.level, 0) / 60000000 AS free
    ) AS f
)
UPDATE quotas AS q
SET level = d.level + d.granted * 60000000, at_us = d.now, granted = d.granted
FROM decided AS d
WHERE q.organization_id = ANY($1::uuid[]) AND q.organization_id = d.organization_id
RETURNING q.organization_id, q.granted, q.level
