-- Nobody routes or cancels it until this transaction has ended.
SELECT FROM event_queue WHERE organization_id = $1 AND event_id = $2 FOR UPDATE
