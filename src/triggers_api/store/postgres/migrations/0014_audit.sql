-- Who changed what. Written in the transaction that makes the change, never changed, deleted when it is old.

CREATE TABLE audit_entries (
    organization_id uuid  NOT NULL,        -- zero: about the service as a whole
    id              uuid  NOT NULL,
    action          text  NOT NULL COLLATE "C",
    actor           text  NOT NULL COLLATE "C",  -- model.audit.Actor.name
    resource_type   text  NOT NULL COLLATE "C",
    resource_id     text  NOT NULL COLLATE "C",
    body            bytea NOT NULL,        -- JSON of store.bodies.AuditBody
    PRIMARY KEY (organization_id, id)
);
CREATE INDEX audit_entries_all ON audit_entries (id);
CREATE INDEX audit_entries_resource ON audit_entries (organization_id, resource_id, id);
CREATE INDEX audit_entries_actor ON audit_entries (organization_id, actor, id);
