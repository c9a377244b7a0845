-- What delivery keeps beside its rows: lines, order, the health of endpoints, jobs, notices, more of an
-- attempt.

-- 0 the first attempt for an event, 1 everything after it: retries, replays
ALTER TABLE deliveries ADD COLUMN priority INTEGER NOT NULL DEFAULT 0;
-- Deliveries of one subscription with the same key go out one after the other, by their sequence; NULL: in
-- no order. One that has to wait for another has the last moment there is as its due_at (codes.PARKED).
ALTER TABLE deliveries ADD COLUMN order_key TEXT;
ALTER TABLE deliveries ADD COLUMN sequence INTEGER;
CREATE INDEX deliveries_order ON deliveries (subscription_id, order_key, sequence)
    WHERE order_key IS NOT NULL AND due_at IS NOT NULL;

-- The last sequence that was given out.
CREATE TABLE order_keys (
    subscription_id INTEGER NOT NULL,
    order_key       TEXT    NOT NULL,
    sequence        INTEGER NOT NULL,
    PRIMARY KEY (subscription_id, order_key)
) STRICT, WITHOUT ROWID;

-- Endpoints whose last attempts failed; a success takes the row away.
CREATE TABLE endpoint_health (
    subscription_id INTEGER PRIMARY KEY,
    failures        INTEGER NOT NULL,      -- attempts in a row
    failing_since   INTEGER NOT NULL,
    opened          INTEGER NOT NULL,      -- how often in a row the breaker opened; 0: it is closed
    open_until      INTEGER NOT NULL,      -- then: when the next probe may be made
    warned_at       INTEGER,
    error           TEXT    NOT NULL       -- what the last attempt came to
) STRICT;

CREATE TABLE jobs (
    id              INTEGER PRIMARY KEY,
    organization_id INTEGER NOT NULL,
    status          INTEGER NOT NULL,      -- 0 waiting or running, 1 done, 2 cancelled, 3 failed
    body            BLOB    NOT NULL,      -- JSON of model.job.Job
    position        INTEGER NOT NULL,      -- everything up to here has been dealt with
    due_at          INTEGER NOT NULL,
    lease_until     INTEGER NOT NULL,
    lease_token     INTEGER NOT NULL
) STRICT;
CREATE INDEX jobs_due ON jobs (due_at) WHERE status = 0;
CREATE INDEX jobs_organization ON jobs (organization_id);

-- What is still to be told as an operational event, written down with what it tells of.
CREATE TABLE notices (
    id              BLOB    PRIMARY KEY DEFAULT (randomblob(16)),
    organization_id INTEGER NOT NULL,
    noticed_at      INTEGER NOT NULL,
    body            BLOB    NOT NULL       -- JSON of model.notice.Notice
) STRICT;

ALTER TABLE events ADD COLUMN operational INTEGER NOT NULL DEFAULT 0;

ALTER TABLE attempts ADD COLUMN details BLOB;  -- JSON of model.delivery.AttemptDetails
