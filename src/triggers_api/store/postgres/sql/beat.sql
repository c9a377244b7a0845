-- When this worker was heard of before, NULL if it is not known (any more).
WITH before AS MATERIALIZED (SELECT seen_at FROM workers WHERE number = $1),
said AS (
    INSERT INTO workers (number, id, body, seen_at)
    VALUES ($1, $2, $3, $4)
    ON CONFLICT (number) DO UPDATE SET body = $3, seen_at = $4
)
SELECT (SELECT seen_at FROM before)
