-- The delivery at which a look over so many of a subscription ends. They are all of one organization, so that it is
-- enough to see whose the last one is.
SELECT d.id
FROM (
    SELECT id, organization_id
    FROM deliveries INDEXED BY deliveries_subscription
    WHERE subscription_id = :subscription_id AND id < :before AND id >= :since AND id < :until
    ORDER BY id DESC
    LIMIT 1 OFFSET :depth
) AS d
WHERE d.organization_id = :organization_id
