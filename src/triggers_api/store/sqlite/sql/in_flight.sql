-- What is in somebody's hands: as many rows as one process sends at once.
SELECT count(*) FROM (
    SELECT 1 FROM deliveries INDEXED BY deliveries_leased
    WHERE status = 3 AND lease_until > 0 AND subscription_id = ?1 AND organization_id = ?2
    LIMIT ?3
)
