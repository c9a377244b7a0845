-- A row with the number 0 is none.
INSERT INTO event_payloads (event_id, payload)
SELECT *
FROM (VALUES (?, ?) /* rows */)
WHERE column1 <> 0
