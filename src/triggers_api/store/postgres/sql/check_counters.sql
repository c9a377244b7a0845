SELECT organization_id, events, deliveries
FROM (
    SELECT o.id AS organization_id,
           coalesce(e.count, 0) - coalesce(a.events, 0) AS events,
           coalesce(d.count, 0) - coalesce(a.deliveries, 0) AS deliveries
    FROM organizations AS o
    LEFT JOIN (SELECT organization_id, count(*) FROM events GROUP BY organization_id) AS e
        ON e.organization_id = o.id
    LEFT JOIN (SELECT organization_id, count(*) FROM deliveries GROUP BY organization_id) AS d
        ON d.organization_id = o.id
    LEFT JOIN (
        SELECT organization_id, sum(events)::bigint AS events, sum(deliveries)::bigint AS deliveries
        FROM accounts GROUP BY organization_id
    ) AS a ON a.organization_id = o.id
) AS differences
WHERE events <> 0 OR deliveries <> 0
LIMIT $1
