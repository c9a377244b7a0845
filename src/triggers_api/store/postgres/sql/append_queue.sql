-- Events that append_events stored into the queue: their organizations, ids and due moments. $4: which row of the
-- accounts to count in.
WITH item AS MATERIALIZED (
    SELECT i.* FROM unnest($1::uuid[], $2::uuid[], $3::bigint[]) AS i (organization_id, event_id, due_at)
),
queued AS (
    INSERT INTO event_queue (organization_id, event_id, due_at)
    SELECT organization_id, event_id, due_at FROM item
)
INSERT INTO accounts AS a (organization_id, slot, events, deliveries)
SELECT organization_id, $4::smallint, count(*), 0 FROM item GROUP BY organization_id
ORDER BY organization_id
ON CONFLICT (organization_id, slot) DO UPDATE SET events = a.events + excluded.events
