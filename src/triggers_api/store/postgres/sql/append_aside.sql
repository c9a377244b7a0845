-- Events that append_events stored and that are kept aside: their organizations, ids and the reasons. $4: now, $5:
-- which row of the accounts to count in.
WITH item AS MATERIALIZED (
    SELECT i.* FROM unnest($1::uuid[], $2::uuid[], $3::text[]) AS i (organization_id, event_id, reason)
),
aside AS (
    INSERT INTO event_states (organization_id, event_id, status, status_at, reason, attempts)
    SELECT organization_id, event_id, 4, $4, reason, 0 FROM item
)
INSERT INTO accounts AS a (organization_id, slot, events, deliveries)
SELECT organization_id, $5::smallint, count(*), 0 FROM item GROUP BY organization_id
ORDER BY organization_id
ON CONFLICT (organization_id, slot) DO UPDATE SET events = a.events + excluded.events
