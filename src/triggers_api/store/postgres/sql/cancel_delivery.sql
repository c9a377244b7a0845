WITH gone AS (
    DELETE FROM delivery_queue WHERE organization_id = $1 AND delivery_id = $2
)
UPDATE deliveries SET status = 8, status_at = $3, reason = $4 WHERE organization_id = $1 AND id = $2
