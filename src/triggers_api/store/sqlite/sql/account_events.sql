SELECT o.id, coalesce(a.events, 0), coalesce(a.deliveries, 0), coalesce(a.pruned, 0)
FROM organizations AS o
LEFT JOIN accounts AS a ON a.organization_id = o.id
ORDER BY o.id
