SELECT id, number, started_at, duration_ms, status_code, error, response_body, details
FROM attempts INDEXED BY attempts_delivery
WHERE delivery_id = ?1
ORDER BY number
