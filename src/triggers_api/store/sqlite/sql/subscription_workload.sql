SELECT (
           SELECT count(*)
           FROM (
               SELECT 1
               FROM deliveries AS d INDEXED BY deliveries_lane
               WHERE d.due_at IS NOT NULL AND d.organization_id = ?1 AND d.subscription_id = ?2
               LIMIT ?3
           )
       ),
       (
           SELECT count(*)
           FROM (
               SELECT 1
               FROM deliveries AS d INDEXED BY deliveries_dead_group
               WHERE d.status = 6 AND d.organization_id = ?1 AND d.subscription_id = ?2
               LIMIT ?3
           )
       )
