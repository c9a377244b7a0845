-- The queue from behind a place ($2, $3) up to another ($4, $5), whether or not it can be claimed now; and
-- whether it belongs to one of the organizations in $7.
SELECT due_at, event_id, organization_id, attempts, organization_id = ANY ($7::uuid[]) AS is_left,
       lease_until <= $1 AS is_ready
FROM event_queue
WHERE (due_at, event_id) > ($2::bigint, $3::uuid) AND (due_at, event_id) <= ($4::bigint, $5::uuid)
  AND due_at <= $1
ORDER BY due_at, event_id
LIMIT $6
