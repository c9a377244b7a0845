-- Those that nobody is about to release: who does, waits until the inbox has its rows for them.
SELECT event_id FROM event_states WHERE organization_id = $1 AND event_id = ANY ($2::uuid[]) AND status = 4
FOR SHARE
