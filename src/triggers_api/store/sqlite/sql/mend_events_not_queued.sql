INSERT INTO event_queue (due_at, event_id, lease_until, lease_token, attempts)
SELECT max(?2, coalesce(e.deliver_at, 0)), e.id, ?2, ?3, 0
FROM events AS e
WHERE e.status IN (0, 2) AND e.id NOT IN (SELECT event_id FROM event_queue)
LIMIT ?1
