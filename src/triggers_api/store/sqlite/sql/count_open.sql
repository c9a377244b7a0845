-- What is not finished, counted up to ?2.
SELECT count(*)
FROM (
    SELECT 1
    FROM deliveries AS d INDEXED BY deliveries_lane
    WHERE d.due_at IS NOT NULL AND d.organization_id = ?1
    LIMIT ?2
)
