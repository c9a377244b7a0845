-- Whether no other process is at it: until the end of this transaction none will be. The number is nobody else's.
SELECT pg_try_advisory_xact_lock(7221431042907654)
