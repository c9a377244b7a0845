-- Nobody's again, and not to be claimed before the moment in lease_until.
UPDATE event_queue
SET lease_token = ?4, lease_until = ?3
WHERE due_at = ?1 AND event_id = ?2
