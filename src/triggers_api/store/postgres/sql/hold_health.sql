-- Rows to be decided upon, made where there are none (with no failures), and held by this transaction, in
-- the one order in which everybody takes them.
INSERT INTO endpoint_health AS h (
    organization_id, subscription_id, failures, failing_since, opened, open_until, error
)
SELECT organization_id, subscription_id, 0, $3, 0, 0, ''
FROM unnest($1::uuid[], $2::uuid[]) AS i (organization_id, subscription_id)
ORDER BY organization_id, subscription_id
ON CONFLICT (organization_id, subscription_id) DO UPDATE SET failures = h.failures
RETURNING subscription_id, failures, failing_since, error, opened, open_until, probe_from, warned_at, disabled_at
