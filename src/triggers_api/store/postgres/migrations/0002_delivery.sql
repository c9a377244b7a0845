-- What delivery keeps beside its rows: lines, order, the health of endpoints, jobs, notices, more of an
-- attempt.

-- 0 the first attempt for an event, 1 everything after it: retries, replays
ALTER TABLE delivery_queue ADD COLUMN priority smallint NOT NULL DEFAULT 0;
-- Deliveries of one subscription with the same key go out one after the other, by their sequence; NULL: in
-- no order. One that has to wait for another has the last moment there is as its due_at (codes.PARKED).
ALTER TABLE delivery_queue ADD COLUMN order_key text COLLATE "C";
ALTER TABLE delivery_queue ADD COLUMN sequence bigint;
CREATE INDEX delivery_queue_order ON delivery_queue (organization_id, subscription_id, order_key, sequence)
    WHERE order_key IS NOT NULL;
ALTER TABLE deliveries ADD COLUMN sequence bigint;

-- The last sequence that was given out. Its row's lock puts those who give out and those who finish in line.
CREATE TABLE order_keys (
    organization_id uuid   NOT NULL,
    subscription_id uuid   NOT NULL,
    order_key       text   NOT NULL COLLATE "C",
    sequence        bigint NOT NULL,
    PRIMARY KEY (organization_id, subscription_id, order_key)
) WITH (fillfactor = 50);

-- Endpoints whose last attempts failed; a success takes the row away.
CREATE TABLE endpoint_health (
    organization_id uuid    NOT NULL,
    subscription_id uuid    NOT NULL,
    failures        integer NOT NULL,      -- attempts in a row
    failing_since   bigint  NOT NULL,
    opened          integer NOT NULL,      -- how often in a row the breaker opened; 0: it is closed
    open_until      bigint  NOT NULL,      -- then: when the next probe may be made
    warned_at       bigint,
    error           text    NOT NULL,      -- what the last attempt came to
    PRIMARY KEY (organization_id, subscription_id)
) WITH (fillfactor = 50);

CREATE TABLE jobs (
    organization_id uuid     NOT NULL,
    id              uuid     NOT NULL,
    status          smallint NOT NULL,     -- 0 waiting or running, 1 done, 2 cancelled, 3 failed
    body            bytea    NOT NULL,     -- JSON of model.job.Job
    position        uuid     NOT NULL,     -- everything up to here has been dealt with
    due_at          bigint   NOT NULL,
    lease_until     bigint   NOT NULL DEFAULT 0,
    lease_token     bigint   NOT NULL DEFAULT 0,    -- 0: in nobody's hands
    PRIMARY KEY (organization_id, id)
);
CREATE INDEX jobs_due ON jobs (due_at) WHERE status = 0;

-- What is still to be told as an operational event, written down with what it tells of.
CREATE TABLE notices (
    id              uuid   PRIMARY KEY DEFAULT gen_random_uuid(),
    organization_id uuid   NOT NULL,
    noticed_at      bigint NOT NULL,
    body            bytea  NOT NULL        -- JSON of model.notice.Notice
);

ALTER TABLE events ADD COLUMN operational boolean NOT NULL DEFAULT false;

ALTER TABLE attempts ADD COLUMN details bytea;  -- JSON of model.delivery.AttemptDetails
