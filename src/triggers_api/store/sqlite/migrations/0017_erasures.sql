-- Deleted organizations of which everything is to go, or has gone.
CREATE TABLE erasures (
    organization_id INTEGER PRIMARY KEY,
    requested_at    INTEGER NOT NULL,
    finished_at     INTEGER,
    events          INTEGER NOT NULL,
    deliveries      INTEGER NOT NULL
) STRICT;
