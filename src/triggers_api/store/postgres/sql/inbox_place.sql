-- The first in the log of what was received in a span of time, which is read whole: going along the log until
-- there is one could take much longer.
WITH item AS MATERIALIZED (
    SELECT xid, id FROM events WHERE organization_id = $1 AND id >= $2 AND id < $3
)
SELECT xid::text, id FROM item ORDER BY xid, id LIMIT 1
