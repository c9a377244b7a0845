-- Inboxes: a position in the organization's log, and rows for what is not done with up to it.

CREATE TABLE inboxes (
    organization_id INTEGER NOT NULL,
    name            TEXT    NOT NULL,
    cursor          INTEGER NOT NULL UNIQUE,   -- whose items are its own; another one after every seek
    types           BLOB,                      -- JSON array of patterns; NULL: all
    position        INTEGER NOT NULL,          -- the last event that was handed out or passed over
    created_at      INTEGER NOT NULL,
    PRIMARY KEY (organization_id, name)
) STRICT, WITHOUT ROWID;

-- Of what is up to the position: not done with. Beyond it: handed out or acknowledged out of turn.
CREATE TABLE inbox_items (
    cursor        INTEGER NOT NULL,
    event_id      INTEGER NOT NULL,
    available_at  INTEGER,                     -- leased until then, or put off, or hidden; NULL: acknowledged
    lease_token   INTEGER NOT NULL,
    receive_count INTEGER NOT NULL,
    PRIMARY KEY (cursor, event_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX inbox_items_available ON inbox_items (cursor, available_at) WHERE available_at IS NOT NULL;

-- Cursors that are no inbox's any more, until their items are deleted.
CREATE TABLE inbox_remains (
    cursor INTEGER PRIMARY KEY
) STRICT;
