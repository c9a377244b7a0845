-- How many there are in a group, counted up to ?4, and the last one.
SELECT (
           SELECT count(*)
           FROM (
               SELECT 1
               FROM deliveries AS d INDEXED BY deliveries_dead_group
               WHERE d.status = 6 AND d.organization_id = ?1 AND d.subscription_id = ?2 AND d.error_class = ?3
               LIMIT ?4
           )
       ),
       (
           SELECT d.id
           FROM deliveries AS d INDEXED BY deliveries_dead_group
           WHERE d.status = 6 AND d.organization_id = ?1 AND d.subscription_id = ?2 AND d.error_class = ?3
           ORDER BY d.id DESC
           LIMIT 1
       )
