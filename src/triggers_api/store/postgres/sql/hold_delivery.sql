-- In the order in which a settlement takes them: the place in the line, then the record.
SELECT FROM delivery_queue WHERE organization_id = $1 AND delivery_id = $2 FOR UPDATE
