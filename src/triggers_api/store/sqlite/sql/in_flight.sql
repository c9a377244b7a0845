-- What is in somebody's hands was due before what waits: it is found first, and no backlog is counted.
SELECT count(*) FROM (
    SELECT 1 FROM deliveries INDEXED BY deliveries_lane
    WHERE subscription_id = ?1 AND due_at IS NOT NULL AND status = 3 AND organization_id = ?2
    ORDER BY due_at
    LIMIT ?3
)
