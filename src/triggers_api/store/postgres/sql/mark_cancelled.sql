INSERT INTO event_states (organization_id, event_id, status, status_at)
VALUES ($1, $2, 5, $3)
ON CONFLICT (organization_id, event_id) DO UPDATE
SET status = 5, status_at = excluded.status_at, reason = NULL, attempts = NULL
