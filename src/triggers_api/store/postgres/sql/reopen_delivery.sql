WITH opened AS (
    UPDATE deliveries
    SET status = $3, status_at = $4, attempt_base = attempt_count, reason = NULL
    WHERE organization_id = $1 AND id = $2
    RETURNING organization_id, id, subscription_id
),
alive AS (
    DELETE FROM dead_letters WHERE organization_id = $1 AND delivery_id = $2
)
INSERT INTO delivery_queue (organization_id, delivery_id, subscription_id, due_at, priority)
SELECT organization_id, id, subscription_id, $4, 1 FROM opened
