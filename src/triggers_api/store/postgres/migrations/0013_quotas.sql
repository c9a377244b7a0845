-- What organizations have used of their rate limits, for all processes together. Not logged: it costs no
-- flush, and what a crash of the server forgets is one burst.
CREATE UNLOGGED TABLE quotas (
    organization_id uuid   PRIMARY KEY,
    level           bigint NOT NULL DEFAULT 0,  -- used and not leaked out, in model.quota.PARTS of a unit
    at_us           bigint NOT NULL DEFAULT 0,  -- at this moment: microseconds since the epoch, by the server's clock
    granted         bigint NOT NULL DEFAULT 0   -- what the last one who asked got
) WITH (fillfactor = 50, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_scale_factor = 0.05);
