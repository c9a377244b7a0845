-- What was counted, by organization and stretch of time: statistics, and nothing that the books rest on.

-- Each process that counts has rows of its own, which it replaces while the stretch lasts; readers add up.
CREATE TABLE rollups (
    organization_id INTEGER NOT NULL,          -- 0: all of them together
    subscription_id INTEGER NOT NULL,          -- 0: of the organization
    step_s          INTEGER NOT NULL,          -- how long the stretch is
    started_at      INTEGER NOT NULL,
    writer          INTEGER NOT NULL,
    body            BLOB    NOT NULL,          -- MessagePack of model.rollup.Tally
    PRIMARY KEY (organization_id, subscription_id, step_s, started_at, writer)
) STRICT, WITHOUT ROWID;
CREATE INDEX rollups_age ON rollups (step_s, started_at);
