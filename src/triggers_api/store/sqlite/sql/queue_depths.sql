SELECT (SELECT count(*) FROM event_queue),
       (SELECT count(*) FROM event_queue WHERE due_at > ?1),
       (SELECT min(due_at) FROM event_queue),
       (SELECT count(*) FROM event_queue INDEXED BY event_queue_leased
        WHERE lease_token <> 4611686018427387904),
       (SELECT count(*) FROM event_queue INDEXED BY event_queue_leased
        WHERE lease_token <> 4611686018427387904 AND lease_until <= ?1),
       (SELECT count(*) FROM deliveries INDEXED BY deliveries_due WHERE due_at IS NOT NULL),
       (SELECT count(*) FROM deliveries INDEXED BY deliveries_leased WHERE status = 3),
       (SELECT count(*) FROM endpoint_health WHERE opened > 0),
       (SELECT count(*) FROM endpoint_health WHERE opened > 0 AND open_until <= ?1),
       (SELECT count(*) FROM endpoint_health)
