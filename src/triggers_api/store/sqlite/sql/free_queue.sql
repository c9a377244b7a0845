-- ?2 is the token of a row that nobody holds; ?1 the moment up to which leases have run out.
UPDATE event_queue SET lease_token = ?2
WHERE lease_token <> ?2 AND lease_until <= ?1
