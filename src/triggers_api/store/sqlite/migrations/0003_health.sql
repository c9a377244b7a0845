-- When the breaker is half open, and which subscriptions were disabled for failing.

-- The first moment at which there may be a probe; a claim moves open_until on, and this stays.
ALTER TABLE endpoint_health ADD COLUMN probe_from INTEGER NOT NULL DEFAULT 0;
-- Its subscription was disabled for failing, and is probed at open_until.
ALTER TABLE endpoint_health ADD COLUMN disabled_at INTEGER;
