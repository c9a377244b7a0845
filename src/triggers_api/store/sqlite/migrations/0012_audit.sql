-- Who changed what. Written in the transaction that makes the change, never changed, deleted when it is old.

CREATE TABLE audit_entries (
    id              INTEGER PRIMARY KEY,
    organization_id INTEGER NOT NULL,      -- 0: about the service as a whole
    action          TEXT    NOT NULL,
    actor           TEXT    NOT NULL,      -- model.audit.Actor.name
    resource_type   TEXT    NOT NULL,
    resource_id     TEXT    NOT NULL,
    body            BLOB    NOT NULL       -- JSON of store.bodies.AuditBody
) STRICT;
CREATE INDEX audit_entries_organization ON audit_entries (organization_id);
CREATE INDEX audit_entries_resource ON audit_entries (organization_id, resource_id);
CREATE INDEX audit_entries_actor ON audit_entries (organization_id, actor);
