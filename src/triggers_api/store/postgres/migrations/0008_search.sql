-- What searches read instead of every event: an index of what is in them, made beside ingest.

-- Some two thousand events of an organization, in the order of the log, see model/postings.py.
CREATE TABLE search_parts (
    organization_id uuid     NOT NULL,
    number          bigint   NOT NULL,
    first_id        uuid     NOT NULL,     -- the smallest
    last_id         uuid     NOT NULL,     -- the largest
    bits            smallint NOT NULL,
    whole           bytea    NOT NULL,
    ids             bytea    NOT NULL,
    stale_at        bigint,                -- when the first of its events was deleted that is in it still
    PRIMARY KEY (organization_id, number)
);
ALTER TABLE search_parts ALTER COLUMN ids SET STORAGE EXTERNAL;
CREATE INDEX search_parts_place ON search_parts (organization_id, last_id);
CREATE INDEX search_parts_stale ON search_parts (stale_at) WHERE stale_at IS NOT NULL;

CREATE TABLE search_blocks (
    organization_id uuid    NOT NULL,
    part            bigint  NOT NULL,
    number          integer NOT NULL,
    body            bytea   NOT NULL,
    PRIMARY KEY (organization_id, part, number)
);

-- The last event in the order of the log that is in a part, or needs not be. What comes behind it is looked
-- at itself.
CREATE TABLE search_progress (
    organization_id uuid   PRIMARY KEY,
    xid             xid8   NOT NULL,
    event_id        uuid   NOT NULL,
    parts           bigint NOT NULL        -- the last number that was given out
);

-- Whose turn it is to index. One row.
CREATE TABLE search_lease (
    id          integer PRIMARY KEY CHECK (id = 1),
    lease_until bigint  NOT NULL,
    lease_token bigint  NOT NULL
);
INSERT INTO search_lease (id, lease_until, lease_token) VALUES (1, 0, 0);

-- Few have one of these, and none when it comes in.
CREATE INDEX event_states_aside ON event_states (organization_id, status, event_id) WHERE status IN (3, 4, 5);
