SELECT a.id, d.organization_id, a.delivery_id, a.number, a.started_at, a.duration_ms, a.status_code, a.error,
       a.response_body, a.details
FROM attempts AS a
CROSS JOIN deliveries AS d ON d.id = a.delivery_id
WHERE a.id > ?1
ORDER BY a.id
