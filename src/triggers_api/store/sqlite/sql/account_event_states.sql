SELECT organization_id,
       CASE WHEN status = 2 AND deliver_at <= ?1 THEN 0 ELSE status END AS shown,
       count(*)
FROM events
GROUP BY organization_id, shown
