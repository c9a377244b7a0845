SELECT d.id FROM deliveries AS d
WHERE d.status = 6 AND NOT EXISTS (
    SELECT FROM dead_letters AS l WHERE l.organization_id = d.organization_id AND l.delivery_id = d.id
)
LIMIT $1
