SELECT organization_id, subscription_id, step_s, started_at, writer, body FROM rollups
