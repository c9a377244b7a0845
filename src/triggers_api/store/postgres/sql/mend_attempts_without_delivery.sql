DELETE FROM attempts
WHERE (organization_id, delivery_id, number) IN (
    SELECT a.organization_id, a.delivery_id, a.number FROM attempts AS a
    WHERE NOT EXISTS (
        SELECT FROM deliveries AS d WHERE d.organization_id = a.organization_id AND d.id = a.delivery_id
    )
    LIMIT $1
)
