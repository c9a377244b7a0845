SELECT failures, failing_since, error, opened, open_until, probe_from, warned_at, disabled_at
FROM endpoint_health
WHERE organization_id = $1 AND subscription_id = $2
FOR UPDATE
