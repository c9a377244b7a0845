SELECT organization_id, more_events, more_deliveries
FROM (
    SELECT o.id AS organization_id,
           (SELECT count(*) FROM events AS e WHERE e.organization_id = o.id) - coalesce(a.events, 0)
               AS more_events,
           (SELECT count(*) FROM deliveries AS d WHERE d.organization_id = o.id)
               - coalesce(a.deliveries, 0) AS more_deliveries
    FROM organizations AS o
    LEFT JOIN accounts AS a ON a.organization_id = o.id
)
WHERE more_events <> 0 OR more_deliveries <> 0
LIMIT ?1
