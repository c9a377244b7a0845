UPDATE deliveries
SET status = s.column2, status_at = s.column3, attempt_count = s.column4, due_at = s.column5,
    lease_until = s.column6, reason = s.column7, error_class = s.column8,
    priority = CASE s.column2 WHEN 4 THEN 1 ELSE priority END
FROM (VALUES (?, ?, ?, ?, ?, ?, ?, ?) /* rows */) AS s
WHERE deliveries.id = s.column1
