-- A row with the writer 0 is none.
INSERT INTO rollups (organization_id, subscription_id, step_s, started_at, writer, body)
SELECT *
FROM (VALUES (?, ?, ?, ?, ?, ?) /* rows */)
WHERE column5 <> 0
ON CONFLICT DO UPDATE SET body = excluded.body
