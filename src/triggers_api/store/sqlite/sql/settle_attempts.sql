INSERT INTO attempts (
    id, delivery_id, number, started_at, duration_ms, status_code, error, response_body, details
)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) /* rows */
