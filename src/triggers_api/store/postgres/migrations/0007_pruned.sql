-- How many events were deleted because they had been kept long enough: accepted, and in no state any more.
ALTER TABLE accounts ADD COLUMN pruned bigint NOT NULL DEFAULT 0;
