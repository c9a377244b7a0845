WITH lost AS MATERIALIZED (
    SELECT d.organization_id, d.id FROM deliveries AS d
    WHERE d.status = 6 AND NOT EXISTS (
        SELECT FROM dead_letters AS l WHERE l.organization_id = d.organization_id AND l.delivery_id = d.id
    )
    LIMIT $1
    FOR UPDATE SKIP LOCKED
)
INSERT INTO dead_letters (organization_id, delivery_id)
SELECT organization_id, id FROM lost
ON CONFLICT (organization_id, delivery_id) DO NOTHING
