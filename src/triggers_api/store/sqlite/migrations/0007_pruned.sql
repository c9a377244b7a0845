-- How many events were deleted because they had been kept long enough: accepted, and in no state any more.
ALTER TABLE accounts ADD COLUMN pruned INTEGER NOT NULL DEFAULT 0;
