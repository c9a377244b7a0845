SELECT organization_id, requested_at, finished_at, events, deliveries FROM erasures ORDER BY organization_id DESC
