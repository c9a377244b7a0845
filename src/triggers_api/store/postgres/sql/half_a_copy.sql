-- The note that triggers copy keeps here (store/copying/target.py) is without an end.
SELECT convert_from(value, 'UTF8')::json ->> 'finished_at' IS NULL FROM meta WHERE name = 'copy'
