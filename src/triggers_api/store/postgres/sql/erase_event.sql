-- Whoever waited for another to erase it sees the row as it is then, and the states as they were: so the row says it, too.
UPDATE events
SET payload = NULL, dedup_id = NULL, repeated_dedup_id = NULL, source = NULL, key = NULL, metadata = NULL
WHERE organization_id = $1 AND id = $2 AND payload IS NOT NULL
  AND NOT EXISTS (
      SELECT FROM event_states AS s WHERE s.organization_id = $1 AND s.event_id = $2 AND s.status = 6
  )
RETURNING id
