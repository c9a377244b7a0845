-- Under which moment an event lies in the queue, if it does: when it came in, is to be delivered, or was released.
SELECT max(id >> 20, coalesce(deliver_at, 0), status_at), status IN (3, 4)
FROM events WHERE id = ?1 AND organization_id = ?2
