-- What repeats the dedup_id of an event that came before it, told only when it came out of the ingest buffer:
-- it has been accepted, so it is kept, and nobody gets it. Its dedup_id is the other's, and only noted here.
ALTER TABLE events ADD COLUMN duplicate_of uuid;
ALTER TABLE events ADD COLUMN repeated_dedup_id text COLLATE "C";
