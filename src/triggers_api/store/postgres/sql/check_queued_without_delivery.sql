SELECT q.delivery_id FROM delivery_queue AS q
WHERE NOT EXISTS (
    SELECT FROM deliveries AS d
    WHERE d.organization_id = q.organization_id AND d.id = q.delivery_id AND d.status IN (2, 4)
)
LIMIT $1
