-- When this worker was heard of before, NULL if it is not known (any more), and when it is heard now: at this
-- moment by the server's clock ($5), not when it began to wait for its turn.
WITH moment AS MATERIALIZED (
    SELECT CASE WHEN $5 THEN (extract(epoch FROM clock_timestamp()) * 1000)::bigint ELSE $4 END AS now
),
before AS MATERIALIZED (SELECT seen_at FROM workers WHERE number = $1),
said AS (
    INSERT INTO workers AS w (number, id, body, seen_at)
    SELECT $1, $2, $3, now FROM moment
    ON CONFLICT (number) DO UPDATE SET body = $3, seen_at = greatest(w.seen_at, excluded.seen_at)
)
SELECT (SELECT seen_at FROM before), (SELECT now FROM moment)
