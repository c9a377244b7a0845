DELETE FROM event_queue WHERE organization_id = $1 AND event_id = $2
