-- Those of these events that can be claimed now, their rows locked as a claim locks them.
WITH lax AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true))
SELECT q.organization_id, q.event_id, q.attempts
FROM lax
CROSS JOIN unnest($2::uuid[], $3::uuid[]) AS i (organization_id, event_id)
JOIN event_queue AS q ON q.organization_id = i.organization_id AND q.event_id = i.event_id
WHERE q.due_at <= $1 AND q.lease_until <= $1
ORDER BY q.due_at, q.event_id
FOR UPDATE OF q SKIP LOCKED
