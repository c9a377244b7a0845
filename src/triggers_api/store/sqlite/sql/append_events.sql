-- The commit decides duplicates: who comes second changes nothing here. A row with the
-- number 0 is none.
INSERT INTO events (
    id, organization_id, status, status_at, type, dedup_id, source, key, occurred_at, deliver_at,
    metadata
)
SELECT *
FROM (VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) /* rows */)
WHERE column1 <> 0
ON CONFLICT (organization_id, dedup_id) WHERE dedup_id IS NOT NULL DO NOTHING
