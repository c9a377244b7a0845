SELECT subscription_id, failures, failing_since, error, opened, open_until, probe_from, warned_at, disabled_at
FROM endpoint_health
WHERE organization_id = ANY ($1::uuid[]) AND subscription_id = ANY ($2::uuid[])
