-- What searches read instead of every event: an index of what is in them, made beside ingest.

-- Some two thousand events of an organization, in the order of their ids, see model/postings.py.
CREATE TABLE search_parts (
    id              INTEGER PRIMARY KEY,
    organization_id INTEGER NOT NULL,
    first_id        INTEGER NOT NULL,
    last_id         INTEGER NOT NULL,
    bits            INTEGER NOT NULL,
    whole           BLOB    NOT NULL,
    stale_at        INTEGER                -- when the first of its events was deleted that is in it still
) STRICT;
CREATE INDEX search_parts_organization ON search_parts (organization_id, last_id);
CREATE INDEX search_parts_stale ON search_parts (stale_at) WHERE stale_at IS NOT NULL;

-- Its blocks, and behind them the ids of its events; the number's upper part is that of the part.
CREATE TABLE search_blocks (
    id   INTEGER PRIMARY KEY,
    body BLOB    NOT NULL
) STRICT;

-- The last event that is in a part, or needs not be. What comes behind it is looked at itself.
CREATE TABLE search_progress (
    organization_id INTEGER PRIMARY KEY,
    position        INTEGER NOT NULL
) STRICT;

-- Few have one of these, and none when it comes in.
CREATE INDEX events_aside ON events (organization_id, status) WHERE status IN (3, 4, 5);
