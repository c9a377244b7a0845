-- $1 to $4: the event; $5 and $6: its delivery, and the subscription; $8: which row of the accounts to count in.
-- Operational: none of a producer's events, and in no subscription's log.
WITH target AS MATERIALIZED (
    SELECT s.state = 2 OR (s.expires_at IS NOT NULL AND s.expires_at <= $7) AS ended
    FROM subscriptions AS s
    WHERE s.organization_id = $1 AND s.id = $6 AND s.deleted_at IS NULL
),
stored AS (
    INSERT INTO events (organization_id, id, type, payload, operational)
    SELECT $1, $2, $3, $4, true FROM target WHERE NOT ended
    RETURNING organization_id, id
),
routed AS (
    INSERT INTO event_states (organization_id, event_id, status, status_at)
    SELECT organization_id, id, 1, $7 FROM stored
),
made AS (
    INSERT INTO deliveries (
        organization_id, id, event_id, subscription_id, origin, origin_id, status, status_at,
        attempt_count, attempt_base
    )
    SELECT organization_id, $5, id, $6, 2, $5, 2, $7, 0, 0 FROM stored
    RETURNING organization_id, id, subscription_id
),
due AS (
    INSERT INTO delivery_queue (organization_id, delivery_id, subscription_id, due_at)
    SELECT organization_id, id, subscription_id, $7 FROM made
),
counted AS (
    INSERT INTO accounts AS a (organization_id, slot, events, deliveries)
    SELECT organization_id, $8::smallint, 1, 1 FROM stored
    ON CONFLICT (organization_id, slot) DO UPDATE
    SET events = a.events + excluded.events, deliveries = a.deliveries + excluded.deliveries
)
SELECT ended FROM target
