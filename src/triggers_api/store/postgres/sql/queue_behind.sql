-- Single events of the queue, as queue_ahead tells of them.
SELECT q.due_at, q.event_id, q.organization_id, q.attempts, q.organization_id = ANY ($4::uuid[]) AS is_left, q.lease_until <= $1 AS is_ready
FROM unnest($2::uuid[], $3::uuid[]) AS i (organization_id, event_id)
CROSS JOIN LATERAL (
    SELECT q.due_at, q.event_id, q.organization_id, q.attempts, q.lease_until
    FROM event_queue AS q
    WHERE q.organization_id = i.organization_id AND q.event_id = i.event_id
    LIMIT 1
) AS q
