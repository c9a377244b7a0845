SELECT a.id FROM attempts AS a
WHERE NOT EXISTS (
    SELECT FROM deliveries AS d WHERE d.organization_id = a.organization_id AND d.id = a.delivery_id
)
LIMIT $1
