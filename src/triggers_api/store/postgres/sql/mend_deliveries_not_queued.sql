-- Held: who settles one has its row, and takes its place in the queue away in the same transaction.
WITH lost AS MATERIALIZED (
    SELECT d.organization_id, d.id FROM deliveries AS d
    WHERE d.status IN (2, 4) AND NOT EXISTS (
        SELECT FROM delivery_queue AS q WHERE q.organization_id = d.organization_id AND q.delivery_id = d.id
    )
    LIMIT $1
    FOR UPDATE SKIP LOCKED
)
INSERT INTO delivery_queue (organization_id, delivery_id, subscription_id, due_at, priority, sequence)
SELECT d.organization_id, d.id, d.subscription_id, $2, CASE WHEN d.attempt_count > 0 THEN 1 ELSE 0 END, d.sequence
FROM lost AS l
JOIN deliveries AS d ON d.organization_id = l.organization_id AND d.id = l.id
ON CONFLICT (organization_id, delivery_id) DO NOTHING
