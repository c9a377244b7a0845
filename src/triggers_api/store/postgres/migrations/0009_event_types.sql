-- What organizations say of their event types, and what was kept aside and released again.

CREATE TABLE event_types (
    organization_id uuid   NOT NULL,
    name            text   NOT NULL COLLATE "C",
    body            bytea,                 -- JSON of model.event_type.EventType; NULL: deleted
    version         bigint NOT NULL,       -- of the settings half, at the last change
    PRIMARY KEY (organization_id, name)
);
CREATE INDEX event_types_version ON event_types (version);

-- When an event that had been kept aside was put into the queue: it is routed as if it had come in then.
ALTER TABLE event_queue ADD COLUMN released_at bigint;
