-- Deleted organizations of which everything is to go, or has gone.
CREATE TABLE erasures (
    organization_id uuid   PRIMARY KEY,
    requested_at    bigint NOT NULL,
    finished_at     bigint,
    events          bigint NOT NULL,
    deliveries      bigint NOT NULL
);
