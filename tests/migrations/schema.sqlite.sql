CREATE TABLE accounts (
    organization_id INTEGER PRIMARY KEY,
    events INTEGER NOT NULL,
    deliveries INTEGER NOT NULL
    , pruned INTEGER NOT NULL DEFAULT 0) STRICT;
CREATE TABLE api_keys (
    id INTEGER PRIMARY KEY,
    organization_id INTEGER,
    digest BLOB NOT NULL UNIQUE,
    body BLOB NOT NULL,
    version INTEGER NOT NULL
) STRICT;
CREATE INDEX api_keys_organization ON api_keys (organization_id);
CREATE INDEX api_keys_version ON api_keys (version);
CREATE TABLE attempts (
    id INTEGER PRIMARY KEY,
    delivery_id INTEGER NOT NULL,
    number INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    duration_ms INTEGER NOT NULL,
    status_code INTEGER,
    error TEXT,
    response_body TEXT
    , details BLOB) STRICT;
CREATE UNIQUE INDEX attempts_delivery ON attempts (delivery_id, number);
CREATE TABLE audit_entries (
    id INTEGER PRIMARY KEY,
    organization_id INTEGER NOT NULL,
    action TEXT NOT NULL,
    actor TEXT NOT NULL,
    resource_type TEXT NOT NULL,
    resource_id TEXT NOT NULL,
    body BLOB NOT NULL
) STRICT;
CREATE INDEX audit_entries_actor ON audit_entries (organization_id, actor);
CREATE INDEX audit_entries_organization ON audit_entries (organization_id);
CREATE INDEX audit_entries_resource ON audit_entries (organization_id, resource_id);
CREATE TABLE controls (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    body BLOB NOT NULL,
    version INTEGER NOT NULL
) STRICT;
CREATE TABLE deliveries (
    id INTEGER PRIMARY KEY,
    organization_id INTEGER NOT NULL,
    event_id INTEGER NOT NULL,
    subscription_id INTEGER NOT NULL,
    origin INTEGER NOT NULL,
    origin_id INTEGER NOT NULL,
    status INTEGER NOT NULL,
    status_at INTEGER NOT NULL,
    attempt_count INTEGER NOT NULL,
    attempt_base INTEGER NOT NULL,
    due_at INTEGER,
    lease_until INTEGER NOT NULL,
    lease_token INTEGER NOT NULL,
    reason TEXT
    , priority INTEGER NOT NULL DEFAULT 0, order_key TEXT, sequence INTEGER, error_class TEXT) STRICT;
CREATE INDEX deliveries_dead ON deliveries (organization_id) WHERE status = 6;
CREATE INDEX deliveries_dead_group ON deliveries (organization_id, subscription_id, error_class) WHERE status = 6;
CREATE INDEX deliveries_due ON deliveries (priority, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX deliveries_lane ON deliveries (organization_id, subscription_id, priority, due_at)
    WHERE due_at IS NOT NULL;
CREATE INDEX deliveries_leased ON deliveries (lease_until) WHERE status = 3;
CREATE UNIQUE INDEX deliveries_once ON deliveries (event_id, subscription_id, origin_id);
CREATE INDEX deliveries_order ON deliveries (subscription_id, order_key, sequence)
    WHERE order_key IS NOT NULL AND due_at IS NOT NULL;
CREATE INDEX deliveries_organization ON deliveries (organization_id);
CREATE INDEX deliveries_subscription ON deliveries (subscription_id);
CREATE TABLE endpoint_health (
    subscription_id INTEGER PRIMARY KEY,
    failures INTEGER NOT NULL,
    failing_since INTEGER NOT NULL,
    opened INTEGER NOT NULL,
    open_until INTEGER NOT NULL,
    warned_at INTEGER,
    error TEXT NOT NULL
    , probe_from INTEGER NOT NULL DEFAULT 0, disabled_at INTEGER) STRICT;
CREATE TABLE erasures (
    organization_id INTEGER PRIMARY KEY,
    requested_at INTEGER NOT NULL,
    finished_at INTEGER,
    events INTEGER NOT NULL,
    deliveries INTEGER NOT NULL
) STRICT;
CREATE TABLE event_failures (
    event_id INTEGER PRIMARY KEY,
    reason TEXT NOT NULL,
    attempts INTEGER NOT NULL
) STRICT;
CREATE TABLE event_payloads (
    event_id INTEGER PRIMARY KEY,
    payload BLOB NOT NULL
) STRICT;
CREATE TABLE event_queue (
    due_at INTEGER NOT NULL,
    event_id INTEGER NOT NULL,
    lease_until INTEGER NOT NULL,
    lease_token INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    PRIMARY KEY (due_at, event_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX event_queue_leased ON event_queue (lease_until)
    WHERE lease_token <> 4611686018427387904;
CREATE TABLE event_traces (
    event_id INTEGER PRIMARY KEY,
    trace BLOB NOT NULL
) STRICT;
CREATE TABLE event_types (
    organization_id INTEGER NOT NULL,
    name TEXT NOT NULL,
    body BLOB,
    version INTEGER NOT NULL,
    PRIMARY KEY (organization_id, name)
) STRICT;
CREATE INDEX event_types_version ON event_types (version);
CREATE TABLE events (
    id INTEGER PRIMARY KEY,
    organization_id INTEGER NOT NULL,
    status INTEGER NOT NULL,
    status_at INTEGER NOT NULL,
    type TEXT NOT NULL,
    dedup_id TEXT,
    source TEXT,
    key TEXT,
    occurred_at INTEGER,
    deliver_at INTEGER,
    metadata BLOB
    , operational INTEGER NOT NULL DEFAULT 0) STRICT;
CREATE INDEX events_aside ON events (organization_id, status) WHERE status IN (3, 4, 5);
CREATE UNIQUE INDEX events_dedup ON events (organization_id, dedup_id) WHERE dedup_id IS NOT NULL;
CREATE INDEX events_organization ON events (organization_id);
CREATE INDEX events_set_aside ON events (id) WHERE status IN (3, 4);
CREATE TABLE farewells (
    subscription_id INTEGER PRIMARY KEY,
    organization_id INTEGER NOT NULL,
    due_at INTEGER NOT NULL,
    attempts INTEGER NOT NULL
) STRICT;
CREATE INDEX farewells_due ON farewells (due_at);
CREATE TABLE inbox_items (
    cursor INTEGER NOT NULL,
    event_id INTEGER NOT NULL,
    available_at INTEGER,
    lease_token INTEGER NOT NULL,
    receive_count INTEGER NOT NULL,
    PRIMARY KEY (cursor, event_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX inbox_items_available ON inbox_items (cursor, available_at) WHERE available_at IS NOT NULL;
CREATE TABLE inbox_remains (
    cursor INTEGER PRIMARY KEY
) STRICT;
CREATE TABLE inboxes (
    organization_id INTEGER NOT NULL,
    name TEXT NOT NULL,
    cursor INTEGER NOT NULL UNIQUE,
    types BLOB,
    position INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (organization_id, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE jobs (
    id INTEGER PRIMARY KEY,
    organization_id INTEGER NOT NULL,
    status INTEGER NOT NULL,
    body BLOB NOT NULL,
    position INTEGER NOT NULL,
    due_at INTEGER NOT NULL,
    lease_until INTEGER NOT NULL,
    lease_token INTEGER NOT NULL
) STRICT;
CREATE INDEX jobs_due ON jobs (due_at) WHERE status = 0;
CREATE INDEX jobs_organization ON jobs (organization_id);
CREATE TABLE key_uses (
    key_id INTEGER PRIMARY KEY,
    used_at INTEGER NOT NULL
) STRICT;
CREATE TABLE logouts (
    session TEXT NOT NULL PRIMARY KEY,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value ANY NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE notices (
    id BLOB PRIMARY KEY DEFAULT (randomblob(16)),
    organization_id INTEGER NOT NULL,
    noticed_at INTEGER NOT NULL,
    body BLOB NOT NULL
) STRICT;
CREATE TABLE order_keys (
    subscription_id INTEGER NOT NULL,
    order_key TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    PRIMARY KEY (subscription_id, order_key)
) STRICT, WITHOUT ROWID;
CREATE TABLE organizations (
    id INTEGER PRIMARY KEY,
    body BLOB NOT NULL,
    deleted_at INTEGER,
    version INTEGER NOT NULL
) STRICT;
CREATE INDEX organizations_version ON organizations (version);
CREATE TABLE rollups (
    organization_id INTEGER NOT NULL,
    subscription_id INTEGER NOT NULL,
    step_s INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    writer INTEGER NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (organization_id, subscription_id, step_s, started_at, writer)
) STRICT, WITHOUT ROWID;
CREATE INDEX rollups_age ON rollups (step_s, started_at);
CREATE TABLE schema_migrations (
    number INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    checksum TEXT NOT NULL,
    applied_at INTEGER NOT NULL
) STRICT;
CREATE TABLE search_blocks (
    id INTEGER PRIMARY KEY,
    body BLOB NOT NULL
) STRICT;
CREATE TABLE search_parts (
    id INTEGER PRIMARY KEY,
    organization_id INTEGER NOT NULL,
    first_id INTEGER NOT NULL,
    last_id INTEGER NOT NULL,
    bits INTEGER NOT NULL,
    whole BLOB NOT NULL,
    stale_at INTEGER
) STRICT;
CREATE INDEX search_parts_organization ON search_parts (organization_id, last_id);
CREATE INDEX search_parts_stale ON search_parts (stale_at) WHERE stale_at IS NOT NULL;
CREATE TABLE search_progress (
    organization_id INTEGER PRIMARY KEY,
    position INTEGER NOT NULL
) STRICT;
CREATE TABLE subscriptions (
    id INTEGER PRIMARY KEY,
    organization_id INTEGER NOT NULL,
    state INTEGER NOT NULL,
    expires_at INTEGER,
    max_concurrency INTEGER,
    body BLOB NOT NULL,
    secrets BLOB NOT NULL,
    from_organization INTEGER NOT NULL,
    deleted_at INTEGER,
    version INTEGER NOT NULL
) STRICT;
CREATE INDEX subscriptions_active ON subscriptions (organization_id) WHERE state = 0;
CREATE INDEX subscriptions_ended ON subscriptions (id) WHERE state = 2;
CREATE INDEX subscriptions_organization ON subscriptions (organization_id) WHERE deleted_at IS NULL;
CREATE INDEX subscriptions_version ON subscriptions (version);
CREATE TABLE switches (
    organization_id INTEGER NOT NULL,
    subscription_id INTEGER NOT NULL,
    body BLOB NOT NULL,
    version INTEGER NOT NULL,
    PRIMARY KEY (organization_id, subscription_id)
) STRICT;
CREATE INDEX switches_version ON switches (version);
