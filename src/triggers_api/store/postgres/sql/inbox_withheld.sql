-- Those that nobody is about to release: who does, waits until the inbox has its rows for them. By the rows' key: the
-- status is written so that the index of what is aside is no choice.
SELECT event_id FROM event_states WHERE organization_id = $1 AND event_id = ANY ($2::uuid[]) AND coalesce(status) = 4
FOR SHARE
