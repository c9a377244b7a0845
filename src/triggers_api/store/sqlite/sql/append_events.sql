-- The commit decides duplicates: who comes second changes nothing here.
INSERT INTO events (
    id, organization_id, status, status_at, type, dedup_id, source, key, occurred_at, deliver_at,
    metadata
)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) /* rows */
ON CONFLICT (organization_id, dedup_id) WHERE dedup_id IS NOT NULL DO NOTHING
