UPDATE delivery_queue SET due_at = $3, lease_token = 0
WHERE organization_id = $1 AND delivery_id = $2 AND lease_until <= $3
