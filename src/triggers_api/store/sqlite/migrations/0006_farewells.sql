-- Hooks that have ended, of which the other side is still to be told; a claim moves due_at on.
CREATE TABLE farewells (
    subscription_id INTEGER PRIMARY KEY,
    organization_id INTEGER NOT NULL,
    due_at          INTEGER NOT NULL,
    attempts        INTEGER NOT NULL
) STRICT;
CREATE INDEX farewells_due ON farewells (due_at);
