SELECT organization_id, subscription_id, body FROM switches
