SELECT organization_id, events, deliveries, pruned FROM accounts
