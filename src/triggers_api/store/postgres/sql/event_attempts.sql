SELECT d.id, d.subscription_id, a.started_at, a.number, a.status_code, a.error
FROM deliveries AS d
CROSS JOIN LATERAL (
    SELECT a.*
    FROM attempts AS a
    WHERE a.organization_id = d.organization_id AND a.delivery_id = d.id
    ORDER BY a.number
    LIMIT 1000000
) AS a
WHERE d.organization_id = $1 AND d.event_id = $2
ORDER BY a.id
