UPDATE accounts
SET events = events - ?2, deliveries = deliveries - ?3, pruned = pruned + ?2
WHERE organization_id = ?1
