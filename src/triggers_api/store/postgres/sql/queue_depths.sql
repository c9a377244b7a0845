SELECT q.*, d.*, h.*
FROM (
    SELECT count(*), count(*) FILTER (WHERE due_at > $1), min(due_at),
           count(*) FILTER (WHERE lease_token <> 0),
           count(*) FILTER (WHERE lease_token <> 0 AND lease_until <= $1)
    FROM event_queue
) AS q,
(
    SELECT count(*), count(*) FILTER (WHERE lease_token <> 0) FROM delivery_queue
) AS d,
(
    SELECT count(*) FROM endpoint_health WHERE opened > 0
) AS h
