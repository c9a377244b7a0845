-- The events of another server's transactions, in the order of the log. Those of a run may share a number: their
-- ids are in the same order.
CREATE TEMPORARY TABLE renumbered ON COMMIT PRESERVE ROWS AS
SELECT organization_id, id, xid AS old,
       sum(begins) OVER (PARTITION BY organization_id ORDER BY xid, id) AS run
FROM (
    SELECT organization_id, id, xid,
           (id < lag(id) OVER (PARTITION BY organization_id ORDER BY xid, id))::integer AS begins
    FROM events
    WHERE xid >= '%(first)s'
) AS e
