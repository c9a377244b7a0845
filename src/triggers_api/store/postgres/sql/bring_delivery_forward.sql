UPDATE delivery_queue SET due_at = $3, lease_until = $3
WHERE organization_id = $1 AND delivery_id = $2 AND lease_token = 0
