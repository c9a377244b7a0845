-- Hooks that have ended, of which the other side is still to be told; a claim moves due_at on.
CREATE TABLE farewells (
    organization_id uuid     NOT NULL,
    subscription_id uuid     NOT NULL,
    due_at          bigint   NOT NULL,
    attempts        integer  NOT NULL,
    PRIMARY KEY (organization_id, subscription_id)
);
CREATE INDEX farewells_due ON farewells (due_at);
