-- Nobody erases it until this transaction has ended.
SELECT FROM events
WHERE organization_id = $1
  AND id = (SELECT d.event_id FROM deliveries AS d WHERE d.organization_id = $1 AND d.id = $2)
FOR SHARE
