-- $5: when it ended, NULL where it only begins.
INSERT INTO schema_migrations (number, name, checksum, contracts, applied_at)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (number) DO UPDATE
SET name = excluded.name, checksum = excluded.checksum, contracts = excluded.contracts,
    applied_at = excluded.applied_at
