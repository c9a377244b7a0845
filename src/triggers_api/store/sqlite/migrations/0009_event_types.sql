-- What organizations say of their event types, and a way to the events that were kept aside.

CREATE TABLE event_types (
    organization_id INTEGER NOT NULL,
    name            TEXT    NOT NULL,
    body            BLOB,                  -- JSON of model.event_type.EventType; NULL: deleted
    version         INTEGER NOT NULL,      -- of the settings half, at the last change
    PRIMARY KEY (organization_id, name)
) STRICT;
CREATE INDEX event_types_version ON event_types (version);

CREATE INDEX events_set_aside ON events (id) WHERE status IN (3, 4);
