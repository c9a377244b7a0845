DELETE FROM dead_letters
WHERE (organization_id, delivery_id) IN (
    SELECT l.organization_id, l.delivery_id FROM dead_letters AS l
    WHERE NOT EXISTS (
        SELECT FROM deliveries AS d
        WHERE d.organization_id = l.organization_id AND d.id = l.delivery_id AND d.status = 6
    )
    LIMIT $1
)
