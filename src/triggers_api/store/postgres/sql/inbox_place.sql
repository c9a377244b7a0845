-- The first in the log of what was received in a span of time, which is read whole: going along the log until
-- there is one could take much longer. By the column: a bare xid in ORDER BY would be the text that is selected.
WITH item AS MATERIALIZED (
    SELECT xid, id FROM events WHERE organization_id = $1 AND id >= $2 AND id < $3
)
SELECT item.xid::text, item.id FROM item ORDER BY item.xid, item.id LIMIT 1
