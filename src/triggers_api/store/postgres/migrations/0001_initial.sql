-- Every key leads with the organization, so that the tables can be spread by it. Moments are milliseconds
-- since the epoch. Ids are UUIDv7 (model/ids.py), whose order is the order of their making.

CREATE TABLE meta (
    name  text PRIMARY KEY,
    value bytea NOT NULL
);

-- One row. Its lock, held until the commit, puts the versions of the settings half in the order of their
-- commits: who has read up to version 7 will not be told of a 6 later.
CREATE TABLE settings_version (
    id      integer PRIMARY KEY CHECK (id = 1),
    version bigint  NOT NULL
);
INSERT INTO settings_version (id, version) VALUES (1, 0);

CREATE TABLE organizations (
    id         uuid PRIMARY KEY,
    body       bytea  NOT NULL,            -- JSON of model.organization.Organization
    deleted_at bigint,
    version    bigint NOT NULL             -- of the settings half, at the last change
);
CREATE INDEX organizations_version ON organizations (version);

CREATE TABLE api_keys (
    id              uuid PRIMARY KEY,
    organization_id uuid,                  -- NULL: an operator's key
    digest          bytea  NOT NULL UNIQUE,
    body            bytea  NOT NULL,       -- JSON of model.organization.ApiKey
    version         bigint NOT NULL
);
CREATE INDEX api_keys_organization ON api_keys (organization_id, id);
CREATE INDEX api_keys_version ON api_keys (version);

CREATE TABLE subscriptions (
    organization_id   uuid     NOT NULL,
    id                uuid     NOT NULL,
    -- 0 active; 1 held: deliveries wait; 2 ended: deliveries are cancelled
    state             smallint NOT NULL,
    expires_at        bigint,
    max_concurrency   integer,
    body              bytea    NOT NULL,   -- JSON of model.subscription.Subscription
    secrets           bytea    NOT NULL,   -- JSON array of whsec_ texts
    from_organization boolean  NOT NULL,
    deleted_at        bigint,
    version           bigint   NOT NULL,
    PRIMARY KEY (organization_id, id)
);
CREATE INDEX subscriptions_ended ON subscriptions (id) WHERE state = 2;
CREATE INDEX subscriptions_expiring ON subscriptions (expires_at) WHERE state < 2 AND expires_at IS NOT NULL;
CREATE INDEX subscriptions_version ON subscriptions (version);

CREATE TABLE controls (
    id      integer PRIMARY KEY CHECK (id = 1),
    body    bytea  NOT NULL,               -- JSON of model.controls.Controls
    version bigint NOT NULL
);

-- What was accepted, counted when it is stored and never recounted: the books that verify against. Several
-- rows for an organization, so that transactions that run at once do not wait for each other's commit.
CREATE TABLE accounts (
    organization_id uuid     NOT NULL,
    slot            smallint NOT NULL,
    events          bigint   NOT NULL,
    deliveries      bigint   NOT NULL,
    PRIMARY KEY (organization_id, slot)
) WITH (fillfactor = 50);

-- Only ever inserted (deleting erases columns): an update would write the payload anew. Where an event
-- stands follows from event_queue, event_states and its deliveries.
CREATE TABLE events (
    organization_id uuid   NOT NULL,
    id              uuid   NOT NULL,
    type            text   NOT NULL COLLATE "C",
    dedup_id        text   COLLATE "C",
    source          text   COLLATE "C",
    key             text   COLLATE "C",
    occurred_at     bigint,
    deliver_at      bigint,
    metadata        bytea,
    payload         bytea,                 -- NULL: erased
    -- Who stored it. Below the oldest transaction that still runs, this order is the order in which
    -- events can be seen, which that of the ids is not.
    xid             xid8   NOT NULL DEFAULT pg_current_xact_id()
);
CREATE UNIQUE INDEX events_dedup ON events (organization_id, dedup_id) WHERE dedup_id IS NOT NULL;
CREATE INDEX events_log ON events (organization_id, xid);
-- Last: where the planner sees no difference, as in a table that is empty still, it takes the newest index.
ALTER TABLE events ADD PRIMARY KEY (organization_id, id);

-- What an event has come to, where that does not follow from its deliveries.
CREATE TABLE event_states (
    organization_id uuid     NOT NULL,
    event_id        uuid     NOT NULL,
    -- 1 processed and wanted by nobody, 3 failed, 4 quarantined, 5 cancelled, 6 deleted
    status          smallint NOT NULL,
    status_at       bigint   NOT NULL,
    reason          text,
    attempts        integer,
    PRIMARY KEY (organization_id, event_id)
);

-- Accepted and not yet routed. Small and busy: room on the pages for new versions of a row, no index on
-- what a lease changes, and dead rows removed soon, because claims read from the front.
CREATE TABLE event_queue (
    organization_id uuid    NOT NULL,
    event_id        uuid    NOT NULL,
    due_at          bigint  NOT NULL,
    lease_until     bigint  NOT NULL DEFAULT 0,
    lease_token     bigint  NOT NULL DEFAULT 0,     -- 0: in nobody's hands
    attempts        integer NOT NULL DEFAULT 0
) WITH (
    fillfactor = 50,
    autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_scale_factor = 0.05,
    autovacuum_vacuum_insert_threshold = -1, autovacuum_vacuum_cost_delay = 0
);
CREATE INDEX event_queue_due ON event_queue (due_at, event_id);
ALTER TABLE event_queue ADD PRIMARY KEY (organization_id, event_id); -- last: see events

CREATE TABLE deliveries (
    organization_id uuid     NOT NULL,
    id              uuid     NOT NULL,
    event_id        uuid     NOT NULL,
    subscription_id uuid     NOT NULL,
    origin          smallint NOT NULL,     -- 0 event, 1 replay, 2 test
    origin_id       uuid     NOT NULL,     -- zero for an event; what asked for it otherwise
    -- 2 pending, 4 retrying, 5 succeeded, 6 dead, 7 skipped, 8 cancelled. Delivering is not written here:
    -- it is a lease in delivery_queue.
    status          smallint NOT NULL,
    status_at       bigint   NOT NULL,
    attempt_count   integer  NOT NULL,
    attempt_base    integer  NOT NULL,     -- attempts on file when it was last opened
    reason          text
) WITH (fillfactor = 80);
CREATE UNIQUE INDEX deliveries_once ON deliveries (organization_id, event_id, subscription_id, origin_id);
CREATE INDEX deliveries_subscription ON deliveries (organization_id, subscription_id, id);
ALTER TABLE deliveries ADD PRIMARY KEY (organization_id, id); -- last: see events

-- Not finished: to be sent, or being sent. Small and busy, like event_queue.
CREATE TABLE delivery_queue (
    organization_id uuid   NOT NULL,
    delivery_id     uuid   NOT NULL,
    subscription_id uuid   NOT NULL,
    due_at          bigint NOT NULL,
    lease_until     bigint NOT NULL DEFAULT 0,
    lease_token     bigint NOT NULL DEFAULT 0       -- 0: in nobody's hands
) WITH (
    fillfactor = 50,
    autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_scale_factor = 0.05,
    autovacuum_vacuum_insert_threshold = -1, autovacuum_vacuum_cost_delay = 0
);
CREATE INDEX delivery_queue_due ON delivery_queue (due_at, delivery_id);
CREATE INDEX delivery_queue_lane ON delivery_queue (subscription_id, due_at, delivery_id);
ALTER TABLE delivery_queue ADD PRIMARY KEY (organization_id, delivery_id); -- last: see events

CREATE TABLE dead_letters (
    organization_id uuid NOT NULL,
    delivery_id     uuid NOT NULL,
    PRIMARY KEY (organization_id, delivery_id)
);

CREATE TABLE attempts (
    organization_id uuid    NOT NULL,
    delivery_id     uuid    NOT NULL,
    number          integer NOT NULL,
    id              uuid    NOT NULL,
    started_at      bigint  NOT NULL,
    duration_ms     integer NOT NULL,
    status_code     integer,
    error           text,
    response_body   bytea,                 -- UTF-8; text could not hold U+0000
    PRIMARY KEY (organization_id, delivery_id, number)
);

-- The processes that work here. A number is part of every lease token that its process gives out.
CREATE TABLE workers (
    number     integer PRIMARY KEY,
    id         text    NOT NULL,
    body       bytea   NOT NULL,           -- JSON of model.worker.Worker
    seen_at    bigint  NOT NULL
);
CREATE SEQUENCE worker_numbers AS integer CYCLE;
