-- Whether there is a lease that has run out: what it was on may be claimed again.
SELECT 1 FROM deliveries INDEXED BY deliveries_leased WHERE status = 3 AND lease_until <= ?1 LIMIT 1
