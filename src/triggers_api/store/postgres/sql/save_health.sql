UPDATE endpoint_health
SET failures = $3, failing_since = $4, error = $5, opened = $6, open_until = $7, probe_from = $8, warned_at = $9,
    disabled_at = $10
WHERE organization_id = $1 AND subscription_id = $2
