-- Nothing for a subscription that was deleted meanwhile.
INSERT INTO endpoint_health (
    subscription_id, failures, failing_since, error, opened, open_until, probe_from, warned_at, disabled_at
)
SELECT id, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9 FROM subscriptions WHERE id = ?1 AND deleted_at IS NULL
ON CONFLICT (subscription_id) DO UPDATE
SET failures = ?2, failing_since = ?3, error = ?4, opened = ?5, open_until = ?6, probe_from = ?7, warned_at = ?8,
    disabled_at = ?9
