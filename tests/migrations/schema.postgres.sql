CREATE SEQUENCE worker_numbers AS integer INCREMENT 1 MINVALUE 1 MAXVALUE 2147483647 START 1 CACHE 1 CYCLE;
CREATE TABLE accounts (
    organization_id uuid NOT NULL,
    slot smallint NOT NULL,
    events bigint NOT NULL,
    deliveries bigint NOT NULL,
    pruned bigint DEFAULT 0 NOT NULL
) WITH (fillfactor=50);
ALTER TABLE accounts ADD CONSTRAINT accounts_pkey PRIMARY KEY (organization_id, slot);
CREATE TABLE api_keys (
    id uuid NOT NULL,
    organization_id uuid,
    digest bytea NOT NULL,
    body bytea NOT NULL,
    version bigint NOT NULL
);
ALTER TABLE api_keys ADD CONSTRAINT api_keys_pkey PRIMARY KEY (id);
ALTER TABLE api_keys ADD CONSTRAINT api_keys_digest_key UNIQUE (digest);
CREATE INDEX api_keys_organization ON api_keys USING btree (organization_id, id);
CREATE INDEX api_keys_version ON api_keys USING btree (version);
CREATE TABLE attempts (
    organization_id uuid NOT NULL,
    delivery_id uuid NOT NULL,
    number integer NOT NULL,
    id uuid NOT NULL,
    started_at bigint NOT NULL,
    duration_ms integer NOT NULL,
    status_code integer,
    error text,
    response_body bytea,
    details bytea
);
ALTER TABLE attempts ADD CONSTRAINT attempts_pkey PRIMARY KEY (organization_id, delivery_id, number);
CREATE TABLE audit_entries (
    organization_id uuid NOT NULL,
    id uuid NOT NULL,
    action text COLLATE "C" NOT NULL,
    actor text COLLATE "C" NOT NULL,
    resource_type text COLLATE "C" NOT NULL,
    resource_id text COLLATE "C" NOT NULL,
    body bytea NOT NULL
);
ALTER TABLE audit_entries ADD CONSTRAINT audit_entries_pkey PRIMARY KEY (organization_id, id);
CREATE INDEX audit_entries_all ON audit_entries USING btree (id);
CREATE INDEX audit_entries_resource ON audit_entries USING btree (organization_id, resource_id, id);
CREATE INDEX audit_entries_actor ON audit_entries USING btree (organization_id, actor, id);
CREATE TABLE controls (
    id integer NOT NULL,
    body bytea NOT NULL,
    version bigint NOT NULL,
    CONSTRAINT controls_id_check CHECK (id = 1)
);
ALTER TABLE controls ADD CONSTRAINT controls_pkey PRIMARY KEY (id);
CREATE TABLE dead_letters (
    organization_id uuid NOT NULL,
    delivery_id uuid NOT NULL,
    subscription_id uuid,
    error_class text COLLATE "C"
);
CREATE INDEX dead_letters_unsorted ON dead_letters USING btree (organization_id) WHERE subscription_id IS NULL;
CREATE INDEX dead_letters_group ON dead_letters USING btree (organization_id, subscription_id, error_class, delivery_id);
ALTER TABLE dead_letters ADD CONSTRAINT dead_letters_pkey PRIMARY KEY (organization_id, delivery_id);
CREATE TABLE deliveries (
    organization_id uuid NOT NULL,
    id uuid NOT NULL,
    event_id uuid NOT NULL,
    subscription_id uuid NOT NULL,
    origin smallint NOT NULL,
    origin_id uuid NOT NULL,
    status smallint NOT NULL,
    status_at bigint NOT NULL,
    attempt_count integer NOT NULL,
    attempt_base integer NOT NULL,
    reason text,
    sequence bigint
) WITH (fillfactor=80);
CREATE UNIQUE INDEX deliveries_once ON deliveries USING btree (organization_id, event_id, subscription_id, origin_id);
CREATE INDEX deliveries_subscription ON deliveries USING btree (organization_id, subscription_id, id);
ALTER TABLE deliveries ADD CONSTRAINT deliveries_pkey PRIMARY KEY (organization_id, id);
CREATE TABLE delivery_queue (
    organization_id uuid NOT NULL,
    delivery_id uuid NOT NULL,
    subscription_id uuid NOT NULL,
    due_at bigint NOT NULL,
    lease_until bigint DEFAULT 0 NOT NULL,
    lease_token bigint DEFAULT 0 NOT NULL,
    priority smallint DEFAULT 0 NOT NULL,
    order_key text COLLATE "C",
    sequence bigint
) WITH (fillfactor=50, autovacuum_vacuum_threshold=2000, autovacuum_vacuum_scale_factor=0.05, autovacuum_vacuum_insert_threshold=-1, autovacuum_vacuum_cost_delay=0);
CREATE INDEX delivery_queue_order ON delivery_queue USING btree (organization_id, subscription_id, order_key, sequence) WHERE order_key IS NOT NULL;
CREATE INDEX delivery_queue_due ON delivery_queue USING btree (priority, due_at, delivery_id);
CREATE INDEX delivery_queue_lane ON delivery_queue USING btree (organization_id, subscription_id, priority, due_at, delivery_id);
ALTER TABLE delivery_queue ADD CONSTRAINT delivery_queue_pkey PRIMARY KEY (organization_id, delivery_id);
CREATE TABLE endpoint_health (
    organization_id uuid NOT NULL,
    subscription_id uuid NOT NULL,
    failures integer NOT NULL,
    failing_since bigint NOT NULL,
    opened integer NOT NULL,
    open_until bigint NOT NULL,
    warned_at bigint,
    error text NOT NULL,
    probe_from bigint DEFAULT 0 NOT NULL,
    disabled_at bigint
) WITH (fillfactor=50);
ALTER TABLE endpoint_health ADD CONSTRAINT endpoint_health_pkey PRIMARY KEY (organization_id, subscription_id);
CREATE TABLE erasures (
    organization_id uuid NOT NULL,
    requested_at bigint NOT NULL,
    finished_at bigint,
    events bigint NOT NULL,
    deliveries bigint NOT NULL
);
ALTER TABLE erasures ADD CONSTRAINT erasures_pkey PRIMARY KEY (organization_id);
CREATE TABLE event_queue (
    organization_id uuid NOT NULL,
    event_id uuid NOT NULL,
    due_at bigint NOT NULL,
    lease_until bigint DEFAULT 0 NOT NULL,
    lease_token bigint DEFAULT 0 NOT NULL,
    attempts integer DEFAULT 0 NOT NULL,
    released_at bigint
) WITH (fillfactor=50, autovacuum_vacuum_threshold=2000, autovacuum_vacuum_scale_factor=0.05, autovacuum_vacuum_insert_threshold=-1, autovacuum_vacuum_cost_delay=0);
CREATE INDEX event_queue_due ON event_queue USING btree (due_at, event_id);
ALTER TABLE event_queue ADD CONSTRAINT event_queue_pkey PRIMARY KEY (organization_id, event_id);
CREATE TABLE event_states (
    organization_id uuid NOT NULL,
    event_id uuid NOT NULL,
    status smallint NOT NULL,
    status_at bigint NOT NULL,
    reason text,
    attempts integer
);
ALTER TABLE event_states ADD CONSTRAINT event_states_pkey PRIMARY KEY (organization_id, event_id);
CREATE INDEX event_states_aside ON event_states USING btree (organization_id, status, event_id) WHERE status = ANY (ARRAY[3, 4, 5]);
CREATE INDEX event_states_set_aside ON event_states USING btree (event_id) WHERE (status = ANY (ARRAY[3, 4])) AND reason IS NOT NULL;
CREATE TABLE event_traces (
    event_id uuid NOT NULL,
    trace bytea NOT NULL
);
ALTER TABLE event_traces ADD CONSTRAINT event_traces_pkey PRIMARY KEY (event_id);
CREATE TABLE event_types (
    organization_id uuid NOT NULL,
    name text COLLATE "C" NOT NULL,
    body bytea,
    version bigint NOT NULL
);
ALTER TABLE event_types ADD CONSTRAINT event_types_pkey PRIMARY KEY (organization_id, name);
CREATE INDEX event_types_version ON event_types USING btree (version);
CREATE TABLE events (
    organization_id uuid NOT NULL,
    id uuid NOT NULL,
    type text COLLATE "C" NOT NULL,
    dedup_id text COLLATE "C",
    source text COLLATE "C",
    key text COLLATE "C",
    occurred_at bigint,
    deliver_at bigint,
    metadata bytea,
    payload bytea,
    xid xid8 DEFAULT pg_current_xact_id() NOT NULL,
    operational boolean DEFAULT false NOT NULL,
    duplicate_of uuid,
    repeated_dedup_id text COLLATE "C"
);
CREATE UNIQUE INDEX events_dedup ON events USING btree (organization_id, dedup_id) WHERE dedup_id IS NOT NULL;
CREATE INDEX events_log ON events USING btree (organization_id, xid);
ALTER TABLE events ADD CONSTRAINT events_pkey PRIMARY KEY (organization_id, id);
CREATE TABLE farewells (
    organization_id uuid NOT NULL,
    subscription_id uuid NOT NULL,
    due_at bigint NOT NULL,
    attempts integer NOT NULL
);
ALTER TABLE farewells ADD CONSTRAINT farewells_pkey PRIMARY KEY (organization_id, subscription_id);
CREATE INDEX farewells_due ON farewells USING btree (due_at);
CREATE TABLE inbox_items (
    organization_id uuid NOT NULL,
    cursor uuid NOT NULL,
    xid xid8 NOT NULL,
    event_id uuid NOT NULL,
    available_at bigint,
    lease_token bigint NOT NULL,
    receive_count integer NOT NULL
) WITH (fillfactor=50, autovacuum_vacuum_threshold=2000, autovacuum_vacuum_scale_factor=0.05, autovacuum_vacuum_insert_threshold=-1, autovacuum_vacuum_cost_delay=0);
CREATE INDEX inbox_items_available ON inbox_items USING btree (organization_id, cursor, available_at, xid, event_id) WHERE available_at IS NOT NULL;
ALTER TABLE inbox_items ADD CONSTRAINT inbox_items_pkey PRIMARY KEY (organization_id, cursor, xid, event_id);
CREATE TABLE inbox_remains (
    organization_id uuid NOT NULL,
    cursor uuid NOT NULL
);
ALTER TABLE inbox_remains ADD CONSTRAINT inbox_remains_pkey PRIMARY KEY (organization_id, cursor);
CREATE TABLE inboxes (
    organization_id uuid NOT NULL,
    name text COLLATE "C" NOT NULL,
    cursor uuid NOT NULL,
    types bytea,
    position_xid xid8 NOT NULL,
    position_id uuid NOT NULL,
    created_at bigint NOT NULL
) WITH (fillfactor=50);
ALTER TABLE inboxes ADD CONSTRAINT inboxes_pkey PRIMARY KEY (organization_id, name);
CREATE TABLE jobs (
    organization_id uuid NOT NULL,
    id uuid NOT NULL,
    status smallint NOT NULL,
    body bytea NOT NULL,
    position uuid NOT NULL,
    due_at bigint NOT NULL,
    lease_until bigint DEFAULT 0 NOT NULL,
    lease_token bigint DEFAULT 0 NOT NULL
);
ALTER TABLE jobs ADD CONSTRAINT jobs_pkey PRIMARY KEY (organization_id, id);
CREATE INDEX jobs_due ON jobs USING btree (due_at) WHERE status = 0;
CREATE TABLE key_uses (
    key_id uuid NOT NULL,
    used_at bigint NOT NULL
) WITH (fillfactor=50);
ALTER TABLE key_uses ADD CONSTRAINT key_uses_pkey PRIMARY KEY (key_id);
CREATE TABLE logouts (
    session text NOT NULL,
    expires_at bigint NOT NULL
);
ALTER TABLE logouts ADD CONSTRAINT logouts_pkey PRIMARY KEY (session);
CREATE TABLE meta (
    name text NOT NULL,
    value bytea NOT NULL
);
ALTER TABLE meta ADD CONSTRAINT meta_pkey PRIMARY KEY (name);
CREATE TABLE notices (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    organization_id uuid NOT NULL,
    noticed_at bigint NOT NULL,
    body bytea NOT NULL
);
ALTER TABLE notices ADD CONSTRAINT notices_pkey PRIMARY KEY (id);
CREATE TABLE order_keys (
    organization_id uuid NOT NULL,
    subscription_id uuid NOT NULL,
    order_key text COLLATE "C" NOT NULL,
    sequence bigint NOT NULL
) WITH (fillfactor=50);
ALTER TABLE order_keys ADD CONSTRAINT order_keys_pkey PRIMARY KEY (organization_id, subscription_id, order_key);
CREATE TABLE organizations (
    id uuid NOT NULL,
    body bytea NOT NULL,
    deleted_at bigint,
    version bigint NOT NULL
);
ALTER TABLE organizations ADD CONSTRAINT organizations_pkey PRIMARY KEY (id);
CREATE INDEX organizations_version ON organizations USING btree (version);
CREATE TABLE quotas (
    organization_id uuid NOT NULL,
    level bigint DEFAULT 0 NOT NULL,
    at_us bigint DEFAULT 0 NOT NULL,
    granted bigint DEFAULT 0 NOT NULL
) WITH (fillfactor=50, autovacuum_vacuum_threshold=500, autovacuum_vacuum_scale_factor=0.05);
ALTER TABLE quotas ADD CONSTRAINT quotas_pkey PRIMARY KEY (organization_id);
CREATE TABLE rollups (
    organization_id uuid NOT NULL,
    subscription_id uuid NOT NULL,
    step_s integer NOT NULL,
    started_at bigint NOT NULL,
    writer bigint NOT NULL,
    body bytea NOT NULL
) WITH (fillfactor=50);
CREATE INDEX rollups_age ON rollups USING btree (step_s, started_at);
ALTER TABLE rollups ADD CONSTRAINT rollups_pkey PRIMARY KEY (organization_id, subscription_id, step_s, started_at, writer);
CREATE TABLE schema_migrations (
    number integer NOT NULL,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at bigint,
    contracts boolean DEFAULT true NOT NULL
);
ALTER TABLE schema_migrations ADD CONSTRAINT schema_migrations_pkey PRIMARY KEY (number);
CREATE TABLE search_blocks (
    organization_id uuid NOT NULL,
    part bigint NOT NULL,
    number integer NOT NULL,
    body bytea NOT NULL
);
ALTER TABLE search_blocks ADD CONSTRAINT search_blocks_pkey PRIMARY KEY (organization_id, part, number);
CREATE TABLE search_lease (
    id integer NOT NULL,
    lease_until bigint NOT NULL,
    lease_token bigint NOT NULL,
    CONSTRAINT search_lease_id_check CHECK (id = 1)
);
ALTER TABLE search_lease ADD CONSTRAINT search_lease_pkey PRIMARY KEY (id);
INSERT INTO search_lease (id, lease_until, lease_token) VALUES (1, 0, 0);
CREATE TABLE search_parts (
    organization_id uuid NOT NULL,
    number bigint NOT NULL,
    first_id uuid NOT NULL,
    last_id uuid NOT NULL,
    bits smallint NOT NULL,
    whole bytea NOT NULL,
    ids bytea STORAGE EXTERNAL NOT NULL,
    stale_at bigint
);
ALTER TABLE search_parts ADD CONSTRAINT search_parts_pkey PRIMARY KEY (organization_id, number);
CREATE INDEX search_parts_place ON search_parts USING btree (organization_id, last_id);
CREATE INDEX search_parts_stale ON search_parts USING btree (stale_at) WHERE stale_at IS NOT NULL;
CREATE TABLE search_progress (
    organization_id uuid NOT NULL,
    xid xid8 NOT NULL,
    event_id uuid NOT NULL,
    parts bigint NOT NULL
);
ALTER TABLE search_progress ADD CONSTRAINT search_progress_pkey PRIMARY KEY (organization_id);
CREATE TABLE settings_version (
    id integer NOT NULL,
    version bigint NOT NULL,
    CONSTRAINT settings_version_id_check CHECK (id = 1)
);
ALTER TABLE settings_version ADD CONSTRAINT settings_version_pkey PRIMARY KEY (id);
INSERT INTO settings_version (id, version) VALUES (1, 0);
CREATE TABLE subscriptions (
    organization_id uuid NOT NULL,
    id uuid NOT NULL,
    state smallint NOT NULL,
    expires_at bigint,
    max_concurrency integer,
    body bytea NOT NULL,
    secrets bytea NOT NULL,
    from_organization boolean NOT NULL,
    deleted_at bigint,
    version bigint NOT NULL
);
CREATE INDEX subscriptions_ended ON subscriptions USING btree (id) WHERE state = 2;
CREATE INDEX subscriptions_expiring ON subscriptions USING btree (expires_at) WHERE state < 2 AND expires_at IS NOT NULL;
CREATE INDEX subscriptions_version ON subscriptions USING btree (version);
CREATE INDEX subscriptions_active ON subscriptions USING btree (organization_id, id) WHERE state = 0;
ALTER TABLE subscriptions ADD CONSTRAINT subscriptions_pkey PRIMARY KEY (organization_id, id);
CREATE TABLE switches (
    organization_id uuid NOT NULL,
    subscription_id uuid NOT NULL,
    body bytea NOT NULL,
    version bigint NOT NULL
);
ALTER TABLE switches ADD CONSTRAINT switches_pkey PRIMARY KEY (organization_id, subscription_id);
CREATE INDEX switches_version ON switches USING btree (version);
CREATE TABLE workers (
    number integer NOT NULL,
    id text NOT NULL,
    body bytea NOT NULL,
    seen_at bigint NOT NULL
);
ALTER TABLE workers ADD CONSTRAINT workers_pkey PRIMARY KEY (number);
