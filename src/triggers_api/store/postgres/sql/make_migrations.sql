CREATE TABLE IF NOT EXISTS schema_migrations (
    number     integer PRIMARY KEY,
    name       text    NOT NULL,
    checksum   text    NOT NULL,
    applied_at bigint,                      -- NULL: it runs alone, and began
    contracts  boolean NOT NULL DEFAULT true
)
