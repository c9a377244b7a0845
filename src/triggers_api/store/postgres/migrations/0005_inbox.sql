-- Inboxes: a position in the organization's log, and rows for what is not done with up to it.

-- A row's lock puts those who hand out of one inbox in line.
CREATE TABLE inboxes (
    organization_id uuid   NOT NULL,
    name            text   NOT NULL COLLATE "C",
    cursor          uuid   NOT NULL,           -- whose items are its own; another one after every seek
    types           bytea,                     -- JSON array of patterns; NULL: all
    position_xid    xid8   NOT NULL,           -- the last event that was handed out or passed over
    position_id     uuid   NOT NULL,
    created_at      bigint NOT NULL,
    PRIMARY KEY (organization_id, name)
) WITH (fillfactor = 50);

-- Of what is up to the position: not done with. Beyond it: handed out or acknowledged out of turn. Small and
-- busy, like event_queue.
CREATE TABLE inbox_items (
    organization_id uuid    NOT NULL,
    cursor          uuid    NOT NULL,
    xid             xid8    NOT NULL,          -- of the event: its place in the log
    event_id        uuid    NOT NULL,
    available_at    bigint,                    -- leased until then, or put off, or hidden; NULL: acknowledged
    lease_token     bigint  NOT NULL,          -- 0: in nobody's hands
    receive_count   integer NOT NULL
) WITH (
    fillfactor = 50,
    autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_scale_factor = 0.05,
    autovacuum_vacuum_insert_threshold = -1, autovacuum_vacuum_cost_delay = 0
);
CREATE INDEX inbox_items_available ON inbox_items (organization_id, cursor, available_at, xid, event_id)
    WHERE available_at IS NOT NULL;
-- Last: where the planner sees no difference, as in a table that is empty still, it takes the newest index.
ALTER TABLE inbox_items ADD PRIMARY KEY (organization_id, cursor, xid, event_id);

-- Cursors that are no inbox's any more, until their items are deleted.
CREATE TABLE inbox_remains (
    organization_id uuid NOT NULL,
    cursor          uuid NOT NULL,
    PRIMARY KEY (organization_id, cursor)
);
