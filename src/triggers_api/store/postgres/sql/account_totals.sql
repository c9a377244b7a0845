SELECT o.id, coalesce(sum(a.events), 0)::bigint, coalesce(sum(a.deliveries), 0)::bigint,
       coalesce(sum(a.pruned), 0)::bigint
FROM organizations AS o
LEFT JOIN accounts AS a ON a.organization_id = o.id
GROUP BY o.id
ORDER BY o.id
