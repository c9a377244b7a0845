SELECT id, number, started_at, duration_ms, status_code, error, response_body, details
FROM attempts
WHERE organization_id = $1 AND delivery_id = $2
ORDER BY number
