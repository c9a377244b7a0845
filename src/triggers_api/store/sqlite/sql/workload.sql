-- Counted up to :most. An event's organization is in its row: of those due first it is looked whose they are.
WITH due AS MATERIALIZED (
    SELECT due_at, event_id FROM event_queue WHERE due_at <= :now ORDER BY due_at, event_id LIMIT :most
),
queued AS MATERIALIZED (
    SELECT q.due_at
    FROM due AS q
    CROSS JOIN events AS e ON e.id = q.event_id
    WHERE e.organization_id = :organization_id
)
SELECT coalesce((SELECT events FROM accounts WHERE organization_id = :organization_id), 0),
       coalesce((SELECT pruned FROM accounts WHERE organization_id = :organization_id), 0),
       coalesce((SELECT deliveries FROM accounts WHERE organization_id = :organization_id), 0),
       (SELECT count(*) FROM due),
       (SELECT count(*) FROM queued),
       (SELECT min(due_at) FROM queued),
       0,
       (
           SELECT count(*)
           FROM (
               SELECT 1
               FROM events AS e INDEXED BY events_aside
               WHERE e.status IN (3, 4, 5) AND e.organization_id = :organization_id AND e.status = 3
               LIMIT :most
           )
       ),
       (
           SELECT count(*)
           FROM (
               SELECT 1
               FROM events AS e INDEXED BY events_aside
               WHERE e.status IN (3, 4, 5) AND e.organization_id = :organization_id AND e.status = 4
               LIMIT :most
           )
       ),
       (
           SELECT count(*)
           FROM (
               SELECT 1
               FROM deliveries AS d INDEXED BY deliveries_lane
               WHERE d.due_at IS NOT NULL AND d.organization_id = :organization_id
               LIMIT :most
           )
       ),
       (
           SELECT count(*)
           FROM (
               SELECT 1
               FROM (
                   SELECT d.id FROM deliveries AS d INDEXED BY deliveries_leased WHERE d.status = 3 LIMIT :most
               ) AS l
               CROSS JOIN deliveries AS d ON d.id = l.id
               WHERE d.organization_id = :organization_id
           )
       ),
       (
           SELECT count(*)
           FROM (
               SELECT 1
               FROM deliveries AS d INDEXED BY deliveries_dead
               WHERE d.status = 6 AND d.organization_id = :organization_id
               LIMIT :most
           )
       )
