-- The first $4 events by id of each organization, those in somebody's hands included, those that are to be
-- tried again later not. $2: now; $3: as late as the present may be by another process's clock.
SELECT o.organization_id, q.event_id, q.due_at, q.attempts, q.lease_token <> 0,
       q.lease_token <> 0 AND q.lease_until > $2, e.deliver_at IS NULL OR q.due_at <= $2, e.xid::text
FROM unnest($1::uuid[]) AS o (organization_id)
CROSS JOIN LATERAL (
    SELECT q.organization_id, q.event_id, q.due_at, q.attempts, q.lease_token, q.lease_until
    FROM event_queue AS q
    WHERE q.organization_id = o.organization_id AND q.due_at <= $3
      AND (q.lease_token <> 0 OR q.lease_until <= $2)
    ORDER BY q.event_id
    LIMIT $4
    FOR UPDATE OF q
) AS q
CROSS JOIN LATERAL (
    SELECT e.deliver_at, e.xid
    FROM events AS e
    WHERE e.organization_id = q.organization_id AND e.id = q.event_id
    LIMIT 1
) AS e
