-- A row with the number 0 is none.
INSERT INTO attempts (
    id, delivery_id, number, started_at, duration_ms, status_code, error, response_body, details
)
SELECT *
FROM (VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) /* rows */)
WHERE column1 <> 0
