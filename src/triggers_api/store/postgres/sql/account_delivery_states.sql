-- What waits must have a row in the queue, and what is finished none, to be counted.
SELECT organization_id, status, count(*)
FROM (
    SELECT d.organization_id,
           CASE WHEN q.lease_token <> 0 THEN 3
                WHEN (q.delivery_id IS NOT NULL) = (d.status IN (2, 4)) THEN d.status END AS status
    FROM deliveries AS d
    LEFT JOIN delivery_queue AS q ON q.organization_id = d.organization_id AND q.delivery_id = d.id
) AS standing
WHERE status IS NOT NULL
GROUP BY organization_id, status
