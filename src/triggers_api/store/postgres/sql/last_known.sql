-- By one seek for each organization: no index has all ids in one order.
SELECT (SELECT coalesce(max(seen_at), 0) FROM workers),
       (
           SELECT latest.id
           FROM organizations AS o
           CROSS JOIN LATERAL (
               SELECT e.id FROM events AS e WHERE e.organization_id = o.id ORDER BY e.id DESC LIMIT 1
           ) AS latest
           ORDER BY latest.id DESC
           LIMIT 1
       ),
       (
           SELECT latest.id
           FROM organizations AS o
           CROSS JOIN LATERAL (
               SELECT d.id FROM deliveries AS d WHERE d.organization_id = o.id ORDER BY d.id DESC LIMIT 1
           ) AS latest
           ORDER BY latest.id DESC
           LIMIT 1
       )
