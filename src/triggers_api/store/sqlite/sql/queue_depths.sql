SELECT (SELECT count(*) FROM event_queue),
       (SELECT count(*) FROM event_queue WHERE due_at > ?1),
       (SELECT min(due_at) FROM event_queue),
       (SELECT count(*) FROM deliveries INDEXED BY deliveries_due WHERE due_at IS NOT NULL)
