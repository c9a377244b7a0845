SELECT organization_id, cursor FROM inbox_remains LIMIT 1 FOR UPDATE SKIP LOCKED
