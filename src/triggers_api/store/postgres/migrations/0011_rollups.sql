-- What was counted, by organization and stretch of time: statistics, and nothing that the books rest on.

-- Each process that counts has rows of its own, which it replaces while the stretch lasts; readers add up.
CREATE TABLE rollups (
    organization_id uuid    NOT NULL,          -- zero: all of them together
    subscription_id uuid    NOT NULL,          -- zero: of the organization
    step_s          integer NOT NULL,          -- how long the stretch is
    started_at      bigint  NOT NULL,
    writer          bigint  NOT NULL,
    body            bytea   NOT NULL           -- MessagePack of model.rollup.Tally
) WITH (fillfactor = 50);
CREATE INDEX rollups_age ON rollups (step_s, started_at);
-- Last: where the planner sees no difference, as in a table that is empty still, it takes the newest index.
ALTER TABLE rollups ADD PRIMARY KEY (organization_id, subscription_id, step_s, started_at, writer);
