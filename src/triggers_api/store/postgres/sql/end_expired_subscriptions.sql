WITH ended AS MATERIALIZED (
    SELECT organization_id, id
    FROM subscriptions
    WHERE state < 2 AND deleted_at IS NULL AND expires_at IS NOT NULL AND expires_at <= $1
    ORDER BY organization_id, id
    FOR UPDATE
)
UPDATE subscriptions AS s
SET state = 2
FROM ended AS e
WHERE s.organization_id = e.organization_id AND s.id = e.id
RETURNING s.organization_id, s.id, s.body
