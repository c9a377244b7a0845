UPDATE event_queue INDEXED BY event_queue_leased
SET lease_token = 4611686018427387904, lease_until = ?2
WHERE lease_token <> 4611686018427387904 AND lease_until <= ?1
