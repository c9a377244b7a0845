-- Of those who release an event and those who erase it one comes after the other.
SELECT FROM event_states WHERE organization_id = $1 AND event_id = $2 AND status IN (3, 4) FOR UPDATE
