SELECT number, name, checksum, contracts, applied_at IS NOT NULL FROM schema_migrations ORDER BY number
