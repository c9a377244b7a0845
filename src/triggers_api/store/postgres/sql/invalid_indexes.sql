-- What CREATE INDEX CONCURRENTLY leaves behind when it is cut off: a name that is taken, and no index.
SELECT c.relname
FROM pg_index AS i
JOIN pg_class AS c ON c.oid = i.indexrelid
WHERE NOT i.indisvalid AND c.relnamespace = current_schema()::regnamespace
