SELECT organization_id, events, deliveries FROM accounts
